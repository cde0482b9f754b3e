use super::*;

#[test]
fn a_change_just_made_is_not_settled() {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let at = |changed: Duration| Stamp {
        device: 0,
        inode: 0,
        size: 0,
        modified: (0, 0),
        changed: (
            i64::try_from(changed.as_secs()).unwrap(),
            u64::from(changed.subsec_nanos()),
        ),
    };
    assert!(!at(now).is_settled());
    assert!(at(now.saturating_sub(Duration::from_secs(1))).is_settled());
    assert!(at(now + Duration::from_secs(1)).is_settled());
}

#[test]
fn failures_have_their_status() {
    assert_eq!(status(Errno::NOENT), StatusCode::NOT_FOUND);
    assert_eq!(status(Errno::XDEV), StatusCode::FORBIDDEN);
    assert_eq!(status(Errno::MFILE), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(Errno::IO), StatusCode::INTERNAL_SERVER_ERROR);
}

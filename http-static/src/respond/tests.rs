use super::*;

fn rendering() -> Rendering {
    let mut options = Options::new("/");
    options.max_age = Some(600);
    Rendering::new(&options).unwrap()
}

fn stamp(seconds: i64) -> Stamp {
    Stamp {
        device: 1,
        inode: 0xab,
        size: 16,
        modified: (seconds, 5),
        changed: (0, 0),
    }
}

#[test]
fn a_file_is_described_by_its_stamp() {
    let rendering = rendering();
    let fields = FileFields::new(b"a/b.html", &stamp(784_111_777));
    assert_eq!(fields.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(fields.etag, format!("\"ab-10-{:x}.5\"", 784_111_777));
    let response = rendering.not_modified(HeaderMap::new(), &fields);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "max-age=600");
}

#[test]
fn times_http_cannot_name_are_clamped() {
    for seconds in [i64::MIN, -1] {
        let fields = FileFields::new(b"a", &stamp(seconds));
        assert_eq!(fields.last_modified, "Thu, 01 Jan 1970 00:00:00 GMT");
    }
    // Not later than now.
    let fields = FileFields::new(b"a", &stamp(i64::MAX));
    assert!(fields.modified < LAST_SECOND);
}

#[test]
fn every_refusal_says_its_own_status() {
    let rendering = rendering();
    for status in [
        301, 400, 403, 404, 405, 408, 412, 413, 414, 416, 431, 500, 501, 503, 505,
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(words(status).starts_with(status.as_str()), "{status}");
        assert_eq!(rendering.refusal(status, true).body().length(), 0);
    }
}

#[test]
fn a_name_that_is_no_field_value_is_refused() {
    let mut options = Options::new("/");
    options.server = "a\r\nb".to_owned();
    assert!(Rendering::new(&options).is_none());
    options.server.clear();
    let refusal = Rendering::new(&options)
        .unwrap()
        .refusal(StatusCode::NOT_FOUND, false);
    assert!(!refusal.headers().contains_key(header::SERVER));
}

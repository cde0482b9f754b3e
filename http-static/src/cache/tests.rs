use super::*;

fn refused(cache: &Cache, path: &str, now_ms: u64) -> Arc<Entry> {
    let lease = cache.lease(cost(path.len(), 0));
    let kind = Kind::Refused(StatusCode::NOT_FOUND);
    let entry = Entry::new(path.as_bytes().into(), kind, true, now_ms, lease);
    let entry = Arc::new(entry);
    cache.insert(&entry);
    entry
}

#[test]
fn an_entry_is_fresh_then_due_once_then_stale() {
    let cache = Cache::new(1 << 20, 10);
    let entry = refused(&cache, "a", 1000);
    assert_eq!(entry.age(900), Age::Fresh);
    assert_eq!(entry.age(1499), Age::Fresh);
    assert_eq!(entry.age(1500), Age::Due);
    assert_eq!(entry.age(1500), Age::Fresh);
    assert_eq!(entry.age(1950), Age::Stale);
    entry.confirm(1500);
    assert_eq!(entry.age(1950), Age::Fresh);
    assert_eq!(entry.age(2000), Age::Due);
}

#[test]
fn one_load_serves_all_who_wait_and_loads_are_bounded() {
    let cache = Cache::new(1 << 20, 2);
    let (first, load) = cache.look_up(b"a", 0);
    assert_eq!(load.as_deref(), Some(&b"a"[..]));
    let (second, load) = cache.look_up(b"a", 0);
    assert_eq!(load, None);
    assert!(matches!(cache.look_up(b"b", 0), (Lookup::Wait(_), Some(_))));
    assert!(matches!(cache.look_up(b"c", 0), (Lookup::Busy, None)));
    cache.loaded(b"a", Outcome::Refused(StatusCode::NOT_FOUND));
    for lookup in [first, second] {
        let Lookup::Wait(mut wait) = lookup else {
            panic!("not waiting")
        };
        assert!(matches!(wait.try_recv(), Ok(Some(Outcome::Refused(_)))));
    }
    assert!(matches!(cache.look_up(b"c", 0), (Lookup::Wait(_), Some(_))));
}

#[test]
fn replacing_an_entry_gives_its_memory_back() {
    let cache = Cache::new(1 << 20, 10);
    for now_ms in 0..100 {
        refused(&cache, "a", now_ms);
    }
    assert_eq!((cache.stats().others, cache.stats().used), (1, cost(1, 0)));
    cache.remove(b"a");
    assert_eq!((cache.stats().others, cache.stats().used), (0, 0));
}

#[test]
fn a_lease_never_exceeds_the_bound() {
    let cache = Cache::new(10_000, 10);
    let lease = cache.lease(6000);
    assert!(lease.is_some());
    assert!(cache.lease(6000).is_none());
    assert!(cache.lease(usize::MAX).is_none());
    drop(lease);
    assert!(cache.lease(10_000).is_some());
}

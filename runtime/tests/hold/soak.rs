//! The soak, for a few seconds.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use testbed::soak::{Options, report, run};

#[test]
fn a_short_soak_has_no_wrong_octet_and_no_unexplained_failure() {
    if !testbed::netns::test_may_wire() {
        return;
    }
    let options = Options {
        server: env!("CARGO_BIN_EXE_dataplane").into(),
        duration: Duration::from_secs(10),
        seed: 4,
    };
    let mut told = Vec::new();
    let mut tell = |line: &str| told.push(line.to_owned());
    let results = run(&options, &AtomicBool::new(false), &mut tell).unwrap();
    let text = report::text(&results);
    assert!(results.is_good(), "{text}");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        results.clients.values().all(|tally| tally.served > 0),
        "{text}"
    );
    assert!(results.attacks.values().sum::<u64>() > 0, "{text}");
    assert!(results.changes.len() > 1, "{text}");
}

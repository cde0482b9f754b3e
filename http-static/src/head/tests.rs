use proptest::prelude::*;

use super::*;

fn scan(head: &[u8]) -> Scan {
    HeadScanner::default().scan(head, &Limits::default())
}

fn complete(len: usize, framing: Framing) -> Scan {
    Scan::Complete { len, framing }
}

#[test]
fn the_end_of_a_head_and_its_framing_are_found() {
    let none = Framing::Length(0);
    for (lines, framing) in [
        ("Host: a\r\n", none),
        ("content-LENGTH:\t5 \r\n", Framing::Length(5)),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
        ("Content-Length-X: 5\r\nTE: gzip\r\n", none),
    ] {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let with_more = format!("{head}GET");
        assert_eq!(
            scan(with_more.as_bytes()),
            complete(head.len(), framing),
            "{lines}"
        );
    }
}

#[test]
fn lengths_in_doubt_are_faults() {
    for lines in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: \r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(
            scan(head.as_bytes()),
            Scan::Fault(Fault::BadRequest),
            "{lines}"
        );
    }
}

#[test]
fn a_head_without_an_end_is_refused_at_its_limit() {
    let limits = Limits::default();
    let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
    head.resize(limits.head_octets - 1, b'x');
    assert_eq!(scan(&head), Scan::Partial);
    head.push(b'x');
    assert_eq!(scan(&head), Scan::Fault(Fault::HeadTooLarge));
    assert_eq!(scan(&[b'x'; 9000]), Scan::Fault(Fault::BadRequest));
}

proptest! {
    #[test]
    fn however_a_head_is_split_the_answer_is_the_same(
        lines in prop::collection::vec("[a-zA-Z-]{1,20}: [ -~]{0,30}\r?\n", 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let head = format!("GET /x HTTP/1.1\r\n{}\r\n", lines.concat()).into_bytes();
        let whole = scan(&head);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(head.len())).collect();
        cuts.sort_unstable();
        let mut scanner = HeadScanner::default();
        let mut split = Scan::Partial;
        for end in cuts.into_iter().chain([head.len()]) {
            split = scanner.scan(&head[..end], &Limits::default());
            if split != Scan::Partial {
                break;
            }
        }
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn no_octets_panic_or_end_behind_themselves(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Scan::Complete { len, .. } = scan(&octets) {
            prop_assert!(octets[..len].ends_with(b"\r\n\r\n"));
        }
    }
}

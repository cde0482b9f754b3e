use proptest::prelude::*;

use super::*;

#[test]
fn spans_are_clipped_to_the_file() {
    assert_eq!(part(b"bytes=0-", 5), Verdict::Part((0, 5)));
    assert_eq!(part(b"Bytes= 1-3 ", 5), Verdict::Part((1, 4)));
    assert_eq!(part(b"bytes=-3", 5), Verdict::Part((2, 5)));
    assert_eq!(
        part(b"bytes=4-18446744073709551615", 5),
        Verdict::Part((4, 5))
    );
    assert_eq!(part(b"bytes=5-", 5), Verdict::Unsatisfiable);
    assert_eq!(part(b"bytes=-1", 0), Verdict::Unsatisfiable);
    for ignored in [
        "bytes=",
        "bytes=-",
        "bytes=a-",
        "bytes=1 - 2",
        "bytes=2-1",
        "byte=0-1",
        "",
    ] {
        assert_eq!(part(ignored.as_bytes(), 5), Verdict::Whole, "{ignored}");
    }
}

proptest! {
    #[test]
    fn a_part_lies_within_the_file(range in "(bytes=)?[0-9,-]{0,25}", length in 0_u64..1000) {
        if let Verdict::Part((start, end)) = part(range.as_bytes(), length) {
            prop_assert!(start < end && end <= length);
        }
    }

    #[test]
    fn one_range_means_what_it_says(first in 0_u64..50, last in 0_u64..50, length in 0_u64..50) {
        let verdict = part(format!("bytes={first}-{last}").as_bytes(), length);
        let expected = if first > last {
            Verdict::Whole
        } else if first >= length {
            Verdict::Unsatisfiable
        } else {
            Verdict::Part((first, length.min(last + 1)))
        };
        prop_assert_eq!(verdict, expected);
    }

    #[test]
    fn tags_in_any_octets_are_read(octets in prop::collection::vec(0x20_u8..0x7f, 0..60)) {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_bytes(&octets).unwrap());
        lists(&headers, &header::IF_MATCH, |_| false);
    }
}

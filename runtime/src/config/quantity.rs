//! Sizes and times as people write them: `512m`, `10k`, `60s`, `10m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::serde_as_text;

/// A number of octets, written as VPP's memory sizes: `131072`, `128k`, `512m`, `1g` (powers of
/// 1024, either case).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(char, u64); 4] = [
    ('t', 1 << 40),
    ('g', 1 << 30),
    ('m', 1 << 20),
    ('k', 1 << 10),
];

impl ByteSize {
    /// So many KiB.
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
        {
            Some((letter, unit)) => write!(f, "{}{letter}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.chars().last() {
            Some(last) if last.is_ascii_alphabetic() => {
                let letter = last.to_ascii_lowercase();
                let unit = UNITS.iter().find(|(name, _)| *name == letter);
                let (_, unit) = unit.ok_or("a size ends in k, m, g, t or a digit")?;
                (&text[..text.len() - 1], *unit)
            }
            _ => (text, 1),
        };
        let count = decimal(digits).ok_or("a size such as 512m, 10k, 1g or 131072 is needed")?;
        let octets = count.checked_mul(unit).ok_or("the size is above 64 bits")?;
        Ok(Self(octets))
    }
}

serde_as_text!(
    ByteSize,
    "a size such as \"512m\", \"10k\" or 131072",
    integer
);

/// A whole number of seconds, written `60`, `60s`, `10m`, `1h` or `1d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seconds(pub u32);

const SPANS: [(char, u32); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(u64::from(seconds.0))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SPANS
            .iter()
            .find(|(_, span)| self.0 != 0 && self.0.is_multiple_of(*span))
        {
            Some((letter, span)) => write!(f, "{}{letter}", self.0 / span),
            None => write!(f, "{}s", self.0),
        }
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, span) = match text.chars().last() {
            Some(last) if last.is_ascii_alphabetic() => {
                let span = SPANS.iter().find(|(name, _)| *name == last);
                let (_, span) = span.ok_or("a time ends in s, m, h, d or a digit")?;
                (&text[..text.len() - 1], u64::from(*span))
            }
            _ => (text, 1),
        };
        let count = decimal(digits).ok_or("a time such as 60, 60s, 10m or 1h is needed")?;
        let seconds = count
            .checked_mul(span)
            .and_then(|all| u32::try_from(all).ok());
        Ok(Self(seconds.ok_or("the time is above 4294967295 seconds")?))
    }
}

serde_as_text!(
    Seconds,
    "a time such as \"60s\", \"10m\" or a number of seconds",
    integer
);

/// Digits and nothing else: no sign, no blanks.
pub(crate) fn decimal(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024_in_either_case() {
        assert_eq!("512m".parse(), Ok(ByteSize::mib(512)));
        assert_eq!("10K".parse(), Ok(ByteSize::kib(10)));
        assert_eq!("1g".parse(), Ok(ByteSize(1 << 30)));
        assert_eq!("131072".parse(), Ok(ByteSize::kib(128)));
        assert_eq!("0".parse(), Ok(ByteSize(0)));
    }

    #[test]
    fn a_size_that_is_none_is_refused() {
        for text in [
            "",
            "m",
            "-1",
            "+1",
            "1.5g",
            "12q",
            "99999999999t",
            "1 m",
            "1mb",
            "٣",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_take_a_unit_or_none() {
        assert_eq!("60".parse(), Ok(Seconds(60)));
        assert_eq!("10m".parse(), Ok(Seconds(600)));
        assert_eq!("1d".parse(), Ok(Seconds(86_400)));
        for text in ["1w", "4294967296"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_is_the_size(octets: u64) {
            let size = ByteSize(octets);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn a_printed_time_is_the_time(seconds: u32) {
            let time = Seconds(seconds);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in ".*") {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<Seconds>();
        }
    }
}

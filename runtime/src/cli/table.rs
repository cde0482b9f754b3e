//! Columns as VPP's `format` makes them: a width pads and also cuts, centring leaves the odd blank
//! on the left, and blanks at the end of a line stay.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

/// `%-Ns`: padded on the right, cut to `width`.
pub fn left(value: impl Display, width: usize) -> String {
    let text = value.to_string();
    format!("{:<width$}", cut(&text, width))
}

/// `%Ns`: padded on the left, cut to `width`.
pub fn right(value: impl Display, width: usize) -> String {
    let text = value.to_string();
    format!("{:>width$}", cut(&text, width))
}

/// `%=Ns`: centred, the odd blank on the left, cut to `width`.
pub fn center(value: impl Display, width: usize) -> String {
    let text = value.to_string();
    let text = cut(&text, width);
    let blanks = width - text.chars().count();
    let before = blanks.div_ceil(2);
    format!("{:before$}{text}{:after$}", "", "", after = blanks - before)
}

fn cut(text: &str, width: usize) -> &str {
    let end = text
        .char_indices()
        .nth(width)
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// VPP's `%.Ne`: an exponent without sign or padding, `9.13e3`.
pub fn exponent(value: f64, digits: usize) -> String {
    format!("{value:.digits$e}")
}

/// Seconds with a fraction, as numbers in JSON.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Serializes names and their counts as one object.
///
/// # Errors
/// The serializer's.
pub fn as_object<K: Serialize, S: serde::Serializer>(
    counts: &[(K, u64)],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(counts.iter().map(|(name, count)| (name, count)))
}

/// `rows` as JSON or as they print themselves.
pub fn render<T: Serialize + Display>(rows: &T, json: bool) -> String {
    if !json {
        return rows.to_string();
    }
    let mut text = serde_json::to_string_pretty(rows)
        .unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string()));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_pads_and_cuts() {
        assert_eq!(left("ab", 4), "ab  ");
        assert_eq!(right("ab", 4), "  ab");
        assert_eq!(left("interrupt wait", 12), "interrupt wa");
        assert_eq!(right("äöü", 2), "äö");
    }

    #[test]
    fn an_odd_blank_goes_left() {
        assert_eq!(center("ab", 5), "  ab ");
        assert_eq!(center("up", 4), " up ");
        assert_eq!(center("abcdef", 3), "abc");
    }

    #[test]
    fn exponents_have_no_plus_sign() {
        assert_eq!(exponent(9130.0, 2), "9.13e3");
        assert_eq!(exponent(0.0, 4), "0.0000e0");
    }
}

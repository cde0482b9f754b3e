//! The results as a picture: two bars for each figure, and their ratio.

use std::fmt::Write as _;

use crate::race::Results;
use crate::race::report::{self, OURS, YARDSTICK};
use crate::race::rows::{Better, METRICS, Metric, Target};
use crate::race::statistics::real;

const WIDTH: f64 = 980.0;
const LABEL_END: f64 = 290.0;
const BAR_START: f64 = 302.0;
const BAR_MAX: f64 = 440.0;
const RATIO_END: f64 = WIDTH - 24.0;
const BAR: f64 = 14.0;
/// From one figure to the next.
const PITCH: f64 = 44.0;
const HEAD: f64 = 96.0;
const SECTION: f64 = 42.0;
const FOOT: f64 = 16.0;
/// From one line of small text to the next.
const LINE: f64 = 16.0;

/// An SVG image of the figures that are drawn, higher-is-better ones first.
pub fn svg(results: &Results) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for (better, title) in [
        (Better::Higher, "Rates: longer is better"),
        (Better::Lower, "Times, memory, CPU: shorter is better"),
    ] {
        let drawn: Vec<_> = METRICS
            .iter()
            .filter(|metric| metric.drawn && metric.better == better)
            .filter(|metric| {
                let of = |name| results.figure(name, metric.id).is_some();
                of(OURS) || of(YARDSTICK)
            })
            .collect();
        if drawn.is_empty() {
            continue;
        }
        text(&mut body, (24.0, y + 20.0), "section", title);
        text(&mut body, (RATIO_END, y + 20.0), "small end", "ratio");
        y += SECTION;
        for metric in drawn {
            pair(&mut body, y, results, metric);
            y += PITCH;
        }
    }
    let mut small = vec![report::circumstances(results)];
    small.extend(results.notes.iter().cloned());
    let height = y + FOOT + LINE * real(small.len() as u64);
    let mut image = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    text(&mut image, (24.0, 38.0), "title", TITLE);
    let mut x = 24.0;
    for (class, name) in [
        (OURS, "ours, in userspace"),
        (YARDSTICK, "nginx on the kernel's stack"),
    ] {
        bar(&mut image, class, (x, 58.0), BAR);
        text(&mut image, (x + 20.0, 70.0), "label", name);
        x += 180.0;
    }
    image.push_str(&body);
    for line in &small {
        y += LINE;
        text(&mut image, (24.0, y), "small", line);
    }
    image.push_str("</svg>\n");
    image
}

const TITLE: &str = "The race: a VLAN client fetches from either server";

const STYLE: &str = "\
text { font-family: 'DejaVu Sans', Verdana, sans-serif; font-size: 13px; fill: #1f2933 }
.paper { fill: #ffffff }
.title { font-size: 19px; font-weight: bold }
.section { font-size: 14px; font-weight: bold }
.small { font-size: 11px; fill: #616e7c }
.end { text-anchor: end }
.value { font-size: 12px }
.ours { fill: #1d4ed8 }
.nginx { fill: #9aa5b1 }
.ahead { fill: #0f7b3f; font-weight: bold }
.behind { fill: #c2410c; font-weight: bold }
.line { stroke: #e4e7eb }
";

/// Both bars of a figure. The longer one has the full length, or the limit where there is one, so
/// that two figures of next to nothing look like that.
fn pair(image: &mut String, y: f64, results: &Results, metric: &Metric) {
    let ours = results.figure(OURS, metric.id);
    let yardstick = results.figure(YARDSTICK, metric.id);
    let limit = match metric.target {
        Some(Target::Value(must, _)) => must,
        Some(Target::Ratio(..)) | None => 0.0,
    };
    let longest = ours.unwrap_or(0.0).max(yardstick.unwrap_or(0.0)).max(limit);
    let (title, middle) = (metric.title.trim(), y + BAR + 5.0);
    text(image, (LABEL_END, middle), "end", title);
    let took_part = |name| results.contestants.iter().any(|(its, _)| *its == name);
    let bars = [(OURS, ours, y), (YARDSTICK, yardstick, y + BAR + 2.0)];
    for (class, value, y) in bars.into_iter().filter(|bar| took_part(bar.0)) {
        let length = match value {
            Some(value) if longest > 0.0 => BAR_MAX * value / longest,
            _ => 0.0,
        };
        bar(image, class, (BAR_START, y), length.max(1.0));
        let shown = value.map_or_else(|| "no answer".to_owned(), |value| metric.unit.show(value));
        let place = (BAR_START + length + 8.0, y + BAR - 3.0);
        text(image, place, "value", &shown);
    }
    if let Some(ratio) = results.ratio([OURS, YARDSTICK], metric.id) {
        let ahead = match metric.better {
            Better::Higher => ratio >= 1.0,
            Better::Lower => ratio <= 1.0,
        };
        let class = if ahead { "end ahead" } else { "end behind" };
        text(image, (RATIO_END, middle), class, &format!("{ratio:.2}x"));
    }
    let below = y + PITCH - 7.0;
    let _ = writeln!(
        image,
        "<line class=\"line\" x1=\"24\" x2=\"{RATIO_END}\" y1=\"{below}\" y2=\"{below}\"/>"
    );
}

fn bar(image: &mut String, class: &str, (x, y): (f64, f64), length: f64) {
    let _ = writeln!(
        image,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>"
    );
}

fn text(image: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    let _ = write!(image, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">");
    for character in text.chars() {
        match character {
            '<' => image.push_str("&lt;"),
            '>' => image.push_str("&gt;"),
            '&' => image.push_str("&amp;"),
            other => image.push(other),
        }
    }
    image.push_str("</text>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::rows::samples;

    fn results(ours: f64, nginx: f64) -> Results {
        Results {
            machine: "R&D <machine>".into(),
            contestants: vec![
                (OURS, samples([("get1.rate", vec![ours])])),
                (YARDSTICK, samples([("get1.rate", vec![nginx])])),
            ],
            ..Results::default()
        }
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let image = svg(&results(5_000.0, 10_000.0));
        assert!(image.contains("class=\"ours\" x=\"302\" y=\"138\" width=\"220.0\""));
        assert!(image.contains("class=\"nginx\" x=\"302\" y=\"154\" width=\"440.0\""));
        assert!(image.contains(">5,000/s<"));
        assert!(image.contains("class=\"end behind\""));
        assert!(image.contains(">0.50x<"));
        assert!(!image.contains("shorter is better"));
    }

    #[test]
    fn who_is_ahead_follows_from_what_is_better_in_that_row() {
        let ours = samples([("get1.rate", vec![2.0]), ("ping.avg", vec![2e-6])]);
        let nginx = samples([("get1.rate", vec![1.0]), ("ping.avg", vec![1e-6])]);
        let results = Results {
            contestants: vec![(OURS, ours), (YARDSTICK, nginx)],
            ..Results::default()
        };
        let image = svg(&results);
        assert_eq!(image.matches("end ahead\"").count(), 1, "{image}");
        assert_eq!(image.matches("end behind\"").count(), 1, "{image}");
    }

    #[test]
    fn figures_far_below_their_limit_have_short_bars() {
        let results = Results {
            contestants: vec![(OURS, samples([("idle.cpu", vec![0.05])]))],
            ..Results::default()
        };
        let image = svg(&results);
        assert!(image.contains("width=\"44.0\""), "{image}");
        assert_eq!(image.matches("class=\"nginx\"").count(), 1); // in the legend
    }

    #[test]
    fn text_is_escaped() {
        let image = svg(&results(1.0, 1.0));
        assert!(image.contains("R&amp;D &lt;machine&gt;"));
        assert_eq!(image.matches("<svg").count(), 1);
        assert!(image.ends_with("</svg>\n"));
    }

    #[test]
    fn nothing_measured_is_still_an_image() {
        let image = svg(&Results::default());
        assert!(image.contains(TITLE));
        let image = svg(&results(0.0, 0.0));
        assert!(!image.contains("NaN"));
    }
}

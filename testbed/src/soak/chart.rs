//! Memory over time, as a picture.

use std::fmt::Write as _;

use super::Results;
use super::memory::Sample;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const FOOT: f64 = 40.0;
/// Horizontal lines.
const LINES: u32 = 4;

/// An SVG image of both servers' memory.
pub fn svg(results: &Results) -> String {
    let samples = &results.memory;
    let longest = samples.iter().map(seconds).fold(1.0, f64::max);
    let most = (samples.iter())
        .flat_map(|sample| sample.octets)
        .map(mebibytes)
        .fold(1.0, f64::max)
        * 1.1;
    let x = |at: f64| LEFT + at / longest * (WIDTH - LEFT - RIGHT);
    let y = |memory: f64| HEIGHT - FOOT - memory / most * (HEIGHT - TOP - FOOT);
    let mut image = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"24\" y=\"32\">The soak: resident memory of both servers, MiB</text>\n"
    );
    for nth in 0..=LINES {
        let memory = most * f64::from(nth) / f64::from(LINES);
        let at = y(memory);
        let _ = writeln!(
            image,
            "<line class=\"line\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\n\
             <text class=\"end\" x=\"{:.0}\" y=\"{:.1}\">{memory:.0}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (server, (class, name)) in [("one", "attacked"), ("two", "lossy")]
        .into_iter()
        .enumerate()
    {
        let mut points = String::new();
        for sample in samples {
            let octets = sample.octets.get(server).copied().unwrap_or(0);
            let _ = write!(
                points,
                "{:.1},{:.1} ",
                x(seconds(sample)),
                y(mebibytes(octets))
            );
        }
        let at = if server == 0 { LEFT } else { LEFT + 120.0 };
        let _ = writeln!(
            image,
            "<polyline class=\"{class}\" points=\"{}\"/>\n\
             <text class=\"label {class}\" x=\"{at}\" y=\"52\">{name}</text>",
            points.trim_end()
        );
    }
    let _ = writeln!(
        image,
        "<text class=\"end\" x=\"{:.0}\" y=\"{:.0}\">{longest:.0} s</text>\n</svg>",
        WIDTH - RIGHT,
        HEIGHT - 14.0
    );
    image
}

fn seconds(sample: &Sample) -> f64 {
    sample.at.as_secs_f64()
}

fn mebibytes(octets: u64) -> f64 {
    crate::race::statistics::real(octets) / 1_048_576.0
}

const STYLE: &str = "\
text { font-family: 'DejaVu Sans', Verdana, sans-serif; font-size: 12px; fill: #1f2933 }
.paper { fill: #ffffff }
.title { font-size: 17px; font-weight: bold }
.end { text-anchor: end }
.line { stroke: #e4e7eb }
polyline { fill: none; stroke-width: 1.5 }
polyline.one { stroke: #1d4ed8 }
polyline.two { stroke: #c2410c }
text.one { fill: #1d4ed8; font-weight: bold }
text.two { fill: #c2410c; font-weight: bold }
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_sample_is_a_point_and_none_are_still_an_image() {
        let empty = svg(&Results::default());
        assert!(empty.ends_with("</svg>\n") && !empty.contains("NaN"));
        let sample = |second| Sample {
            at: Duration::from_secs(second),
            octets: [second << 20, 30 << 20],
        };
        let results = Results {
            memory: (1..=10).map(sample).collect(),
            ..Results::default()
        };
        let image = svg(&results);
        let points = image.split("points=\"").nth(1).unwrap();
        assert_eq!(points.split('"').next().unwrap().split(' ').count(), 10);
    }
}

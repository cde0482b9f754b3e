//! The results as a table for people and as JSON for programs.

use serde_json::{Value, json};

use crate::race::Results;
use crate::race::rows::{METRICS, Metric, Target, figure};

/// Our server's name among the contestants.
pub const OURS: &str = "ours";
/// The yardstick's.
pub const YARDSTICK: &str = "nginx";

const MISSING: &str = "-";

/// The table, in Markdown, with aligned columns: medians of the figures and of their ratios.
pub fn table(results: &Results) -> String {
    let mut lines = vec![["", OURS, YARDSTICK, "ratio", "at least", ""].map(str::to_owned)];
    lines.extend(
        METRICS
            .iter()
            .filter_map(|metric| table_line(results, metric)),
    );
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count()).max(3);
        }
    }
    // The colon says that a column is aligned to the right.
    let rules: Vec<String> = (widths.iter().enumerate())
        .map(|(column, width)| match column {
            0 => "-".repeat(width + 2),
            _ => "-".repeat(width + 1) + ":",
        })
        .collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let cell = match column {
                0 => format!("| {cell:width$} "),
                _ => format!("| {cell:>width$} "),
            };
            text.push_str(&cell);
        }
        text.push_str("|\n");
        if at == 0 {
            for part in ["|", &rules.join("|"), "|\n"] {
                text.push_str(part);
            }
        }
    }
    text
}

fn table_line(results: &Results, metric: &Metric) -> Option<[String; 6]> {
    let ours = results.figure(OURS, metric.id);
    let yardstick = results.figure(YARDSTICK, metric.id);
    if ours.is_none() && yardstick.is_none() {
        return None;
    }
    let shown = |value: Option<f64>| {
        value.map_or_else(|| MISSING.to_owned(), |value| metric.unit.show(value))
    };
    let text = |value: Option<String>| value.unwrap_or_default();
    let ratio = results.ratio([OURS, YARDSTICK], metric.id);
    Some([
        metric.title.to_owned(),
        shown(ours),
        shown(yardstick),
        text(ratio.map(|ratio| format!("{ratio:.2}x"))),
        text(metric.requirement()),
        text(metric.judge(ours, ratio).map(|verdict| verdict.to_string())),
    ])
}

/// What stands above the table.
pub fn heading(results: &Results) -> String {
    format!("{}; {}", circumstances(results), results.notes.join("; "))
}

/// The machine, and how often and how long was measured.
pub fn circumstances(results: &Results) -> String {
    let runs = match results.runs {
        1 => "1 run".to_owned(),
        runs => format!("median of {runs} runs"),
    };
    let (machine, seconds) = (&results.machine, results.seconds);
    format!("{machine}; {runs}, {seconds} s for each load, in turns of 1 s")
}

/// The results for programs: for each metric its unit, every sample, the medians, the ratio, what
/// is asked and whether it is reached.
pub fn json(results: &Results) -> Value {
    let metrics: Vec<Value> = METRICS
        .iter()
        .filter(|metric| table_line(results, metric).is_some())
        .map(|metric| metric_json(results, metric))
        .collect();
    json!({
        "machine": results.machine,
        "notes": results.notes,
        "runs": results.runs,
        "seconds": results.seconds,
        "metrics": metrics,
        "failures": results.failures,
    })
}

fn metric_json(results: &Results, metric: &Metric) -> Value {
    let ours = results.figure(OURS, metric.id);
    let ratio = results.ratio([OURS, YARDSTICK], metric.id);
    let mut value = json!({
        "id": metric.id,
        "row": metric.row.id(),
        "title": metric.title.trim(),
        "unit": metric.unit.id(),
        "better": format!("{:?}", metric.better).to_lowercase(),
        "ratio": ratio,
        "verdict": metric.judge(ours, ratio).map(|verdict| verdict.to_string()),
        "target": metric.target.map(|target| match target {
            Target::Ratio(at_least, aim) => json!({"ratio": at_least, "aim": aim}),
            Target::Value(at_least, aim) => json!({"value": at_least, "aim": aim}),
        }),
    });
    for (name, samples) in &results.contestants {
        if let (Some(all), Some(object)) = (samples.get(metric.id), value.as_object_mut()) {
            let median = figure(samples, metric.id);
            object.insert(
                (*name).to_owned(),
                json!({"median": median, "samples": all.values().collect::<Vec<_>>()}),
            );
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::rows::samples;

    fn results() -> Results {
        let ours = samples([
            ("get1.rate", vec![12_000.0, 9_000.0, 10_000.0]),
            ("idle.cpu", vec![0.0]),
        ]);
        let nginx = samples([
            ("get1.rate", vec![20_000.0, 20_000.0, 20_000.0]),
            ("idle.cpu", vec![0.0]),
            ("get1.p50", vec![0.000_1]),
        ]);
        Results {
            machine: "A processor".into(),
            notes: vec!["a note".into()],
            runs: 3,
            seconds: 2,
            contestants: vec![(OURS, ours), (YARDSTICK, nginx)],
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_table_holds_medians_ratios_and_verdicts() {
        let wanted = "\
            |                            |     ours |    nginx | ratio |  at least |       |\n\
            |----------------------------|---------:|---------:|------:|----------:|------:|\n\
            | idle, CPU                  |   0.00 % |   0.00 % |       | <= 0.50 % |   aim |\n\
            | GET 8 octets, 1 connection | 10,000/s | 20,000/s | 0.50x |  >= 0.90x | short |\n\
            |   p50                      |        - |   100 us |       |           |       |\n";
        assert_eq!(table(&results()), wanted);
    }

    #[test]
    fn the_heading_says_where_and_how() {
        assert_eq!(
            heading(&results()),
            "A processor; median of 3 runs, 2 s for each load, in turns of 1 s; a note"
        );
    }

    #[test]
    fn programs_get_every_sample() {
        let json = json(&results());
        let metrics = json["metrics"].as_array().unwrap();
        assert_eq!(metrics.len(), 3);
        let get1 = &metrics[1];
        assert_eq!(get1["id"], "get1.rate");
        assert_eq!(get1["ours"]["median"], 10_000.0);
        assert_eq!(get1["ours"]["samples"].as_array().unwrap().len(), 3);
        assert_eq!(get1["ratio"], 0.5);
        assert_eq!(get1["verdict"], "short");
        assert_eq!(get1["better"], "higher");
        assert_eq!(metrics[2]["ours"], Value::Null);
        assert_eq!(metrics[0]["ratio"], Value::Null);
    }
}

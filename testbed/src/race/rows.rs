//! What is measured, in which unit, and what is asked of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::race::statistics::median;

/// A discipline of the race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Time from exec to the first answered GET.
    Start,
    /// Resident memory of the process; what the kernel's stack holds for nginx is not in it.
    Memory,
    /// Round trip of echo requests.
    Ping,
    /// CPU time and wake-ups with nothing to do.
    Idle,
    /// GET of 8 octets, 1 kept connection.
    Get1,
    /// GET of 8 octets, 32 kept connections.
    Get32,
    /// GET of 8 octets, 256 kept connections.
    Get256,
    /// GET of 8 octets, a connection for each, 64 at a time.
    Connect64,
    /// One file of 256 MB, one connection.
    File256m,
    /// Files of 1 MiB, 16 kept connections.
    Files1m,
    /// Files of 64 KiB, 16 kept connections.
    Files64k,
    /// 1 MB at 1 % loss.
    Loss1,
    /// 10 MB at 0.1 % loss.
    Loss01,
}

impl Row {
    /// All, in the order they are run.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Ping,
        Self::Idle,
        Self::Get1,
        Self::Get32,
        Self::Get256,
        Self::Memory,
        Self::Connect64,
        Self::File256m,
        Self::Files1m,
        Self::Files64k,
        Self::Loss1,
        Self::Loss01,
    ];

    /// As `--rows` takes it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Memory => "memory",
            Self::Ping => "ping",
            Self::Idle => "idle",
            Self::Get1 => "get1",
            Self::Get32 => "get32",
            Self::Get256 => "get256",
            Self::Connect64 => "connect64",
            Self::File256m => "file256m",
            Self::Files1m => "files1m",
            Self::Files64k => "files64k",
            Self::Loss1 => "loss1",
            Self::Loss01 => "loss01",
        }
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|row| row.id() == text);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::id).join(", ");
            format!("there is no row {text:?}; the rows are {known}")
        })
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Time,
    /// Seconds of CPU for 100,000 requests.
    CpuTime,
    /// Per second.
    Rate,
    /// Octets per second.
    Throughput,
    /// Octets.
    Memory,
    /// Percent of one CPU.
    Percent,
}

impl Unit {
    /// For the results file.
    pub fn id(self) -> &'static str {
        match self {
            Self::Time => "s",
            Self::CpuTime => "s/100000",
            Self::Rate => "1/s",
            Self::Throughput => "octets/s",
            Self::Memory => "octets",
            Self::Percent => "%",
        }
    }

    /// For people, with about three digits.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 0.000_999_5 => format!("{:.0} us", value * 1e6),
            Self::Time if value < 0.999_5 => {
                format!("{:.*} ms", decimals(value * 1e3), value * 1e3)
            }
            Self::Time | Self::CpuTime => format!("{value:.2} s"),
            Self::Rate => format!("{}/s", with_commas(value)),
            Self::Throughput => format!("{} MB/s", with_commas(value / 1e6)),
            Self::Memory => format!("{:.1} MB", value / 1e6),
            Self::Percent => format!("{value:.2} %"),
        }
    }
}

fn decimals(value: f64) -> usize {
    match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    }
}

/// As in `64,724`; small ones with decimals.
fn with_commas(value: f64) -> String {
    if value < 99.95 {
        return format!("{value:.*}", decimals(value));
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    Higher,
    /// Times, memory, CPU.
    Lower,
}

/// What is asked of our server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Ours divided by the yardstick's: what it must reach, and what it should.
    Ratio(f64, f64),
    /// Ours, in the metric's unit: what it must reach, and what it should.
    Value(f64, f64),
}

/// Whether ours does what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What it should.
    Aim,
    /// What it must.
    AtLeast,
    /// Less than that.
    Short,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Aim => "aim",
            Self::AtLeast => "ok",
            Self::Short => "short",
        })
    }
}

/// One figure of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The row it belongs to.
    pub row: Row,
    /// As in `get1.rate`.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// How it is written.
    pub unit: Unit,
    /// Which way is good.
    pub better: Better,
    /// What is asked of ours.
    pub target: Option<Target>,
    /// Whether it is in the picture.
    pub drawn: bool,
}

impl Metric {
    /// What is asked, as in `>= 0.90x`.
    pub fn requirement(&self) -> Option<String> {
        let sign = match self.better {
            Better::Higher => ">=",
            Better::Lower => "<=",
        };
        Some(match self.target? {
            Target::Ratio(must, _) => format!("{sign} {must:.2}x"),
            Target::Value(must, _) => format!("{sign} {}", self.unit.show(must)),
        })
    }

    /// Judges ours and its ratio to the yardstick; `None` where nothing is asked, or what it takes
    /// was not measured.
    pub fn judge(&self, ours: Option<f64>, ratio: Option<f64>) -> Option<Verdict> {
        let (value, must, should) = match self.target? {
            Target::Ratio(must, should) => (ratio?, must, should),
            Target::Value(must, should) => (ours?, must, should),
        };
        let reaches = |limit: f64| match self.better {
            Better::Higher => value >= limit,
            Better::Lower => value <= limit,
        };
        Some(if reaches(should) {
            Verdict::Aim
        } else if reaches(must) {
            Verdict::AtLeast
        } else {
            Verdict::Short
        })
    }
}

/// Measurements, by [`Metric::id`] and run.
pub type Samples = BTreeMap<&'static str, BTreeMap<u32, f64>>;

/// Measurements of the first runs.
#[cfg(test)]
pub(crate) fn samples<const N: usize>(all: [(&'static str, Vec<f64>); N]) -> Samples {
    let by_run = |values: Vec<f64>| (1..).zip(values).collect();
    all.map(|(id, values)| (id, by_run(values))).into()
}

/// The median of one metric's measurements.
pub fn figure(samples: &Samples, id: &str) -> Option<f64> {
    let values: Vec<f64> = samples.get(id)?.values().copied().collect();
    median(&values)
}

const fn metric(
    row: Row,
    id: &'static str,
    title: &'static str,
    (unit, better): (Unit, Better),
) -> Metric {
    Metric {
        row,
        id,
        title,
        unit,
        better,
        target: None,
        drawn: false,
    }
}

impl Metric {
    const fn asks(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.drawn = true;
        self
    }

    const fn drawn(mut self) -> Self {
        self.drawn = true;
        self
    }
}

const TIME: (Unit, Better) = (Unit::Time, Better::Lower);
const CPU: (Unit, Better) = (Unit::CpuTime, Better::Lower);
const RATE: (Unit, Better) = (Unit::Rate, Better::Higher);
const MEMORY: (Unit, Better) = (Unit::Memory, Better::Lower);

/// Every figure, in the order of the table.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric(Row::Ping, "ping.avg", "ping, average", TIME).asks(Target::Ratio(1.5, 1.0)),
    metric(Row::Ping, "ping.p50", "ping, median", TIME),
    metric(Row::Idle, "idle.cpu", "idle, CPU", (Unit::Percent, Better::Lower)).asks(Target::Value(0.5, 0.0)),
    metric(Row::Idle, "idle.wakeups", "idle, wake-ups", (Unit::Rate, Better::Lower)),
    metric(Row::Start, "start.first_get", "exec to first answered GET", TIME).asks(Target::Value(0.1, 0.02)),
    metric(Row::Memory, "memory.start", "memory after start", MEMORY).asks(Target::Value(24e6, 12e6)),
    metric(Row::Memory, "memory.idle10k", "memory, 10,000 idle connections", MEMORY).asks(Target::Value(160e6, 64e6)),
    metric(Row::Memory, "memory.load", "memory after the load", MEMORY).drawn(),
    metric(Row::Get1, "get1.rate", "GET 8 octets, 1 connection", RATE).asks(Target::Ratio(0.9, 1.2)),
    metric(Row::Get1, "get1.p50", "  p50", TIME),
    metric(Row::Get1, "get1.p99", "  p99", TIME),
    metric(Row::Get1, "get1.cpu", "  server CPU for 100,000", CPU),
    metric(Row::Get32, "get32.rate", "GET 8 octets, 32 connections", RATE).asks(Target::Ratio(1.2, 1.6)),
    metric(Row::Get32, "get32.p50", "  p50", TIME),
    metric(Row::Get32, "get32.p99", "  p99", TIME),
    metric(Row::Get32, "get32.cpu", "  server CPU for 100,000", CPU),
    metric(Row::Get256, "get256.rate", "GET 8 octets, 256 connections", RATE).asks(Target::Ratio(1.4, 2.0)),
    metric(Row::Get256, "get256.p50", "  p50", TIME),
    metric(Row::Get256, "get256.p99", "  p99", TIME),
    metric(Row::Get256, "get256.cpu", "  server CPU for 100,000", CPU),
    metric(Row::Connect64, "connect64.rate", "a connection for each GET, 64 at a time", RATE).asks(Target::Ratio(1.2, 2.0)),
    metric(Row::Connect64, "connect64.p50", "  p50", TIME),
    metric(Row::Connect64, "connect64.p99", "  p99", TIME),
    metric(Row::Connect64, "connect64.cpu", "  server CPU for 100,000", CPU),
    metric(Row::File256m, "file256m.rate", "one file of 256 MB", (Unit::Throughput, Better::Higher)).asks(Target::Ratio(0.5, 1.0)),
    metric(Row::Files1m, "files1m.rate", "files of 1 MiB, 16 connections", RATE).asks(Target::Ratio(0.6, 1.0)),
    metric(Row::Files1m, "files1m.p99", "  p99", TIME),
    metric(Row::Files64k, "files64k.rate", "files of 64 KiB, 16 connections", RATE).asks(Target::Ratio(0.8, 1.3)),
    metric(Row::Files64k, "files64k.p99", "  p99", TIME),
    metric(Row::Loss1, "loss1.time", "1 MB, 1 % loss, 30 ms", TIME).asks(Target::Ratio(2.0, 1.2)),
    metric(Row::Loss01, "loss01.time", "10 MB, 0.1 % loss, 30 ms", TIME).asks(Target::Ratio(2.0, 1.2)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(id: &str) -> &'static Metric {
        METRICS.iter().find(|metric| metric.id == id).unwrap()
    }

    #[test]
    fn every_row_has_figures_and_every_figure_its_own_name() {
        for row in Row::ALL {
            assert_eq!(row.id().parse(), Ok(row));
            assert!(METRICS.iter().any(|metric| metric.row == row), "{row:?}");
        }
        assert!("get2".parse::<Row>().unwrap_err().contains("get1, get32"));
        let mut ids: Vec<_> = METRICS.iter().map(|metric| metric.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.id.starts_with(metric.row.id()), "{}", metric.id);
        }
    }

    #[test]
    fn values_are_written_for_people() {
        for (unit, value, text) in [
            (Unit::Time, 0.000_088, "88 us"),
            (Unit::Time, 0.000_999_6, "1.00 ms"),
            (Unit::Time, 0.0123, "12.3 ms"),
            (Unit::Time, 0.9996, "1.00 s"),
            (Unit::Time, 1.719, "1.72 s"),
            (Unit::CpuTime, 0.93, "0.93 s"),
            (Unit::Rate, 64_724.3, "64,724/s"),
            (Unit::Rate, 1_234_567.0, "1,234,567/s"),
            (Unit::Rate, 999.0, "999/s"),
            (Unit::Rate, 0.2, "0.20/s"),
            (Unit::Throughput, 2_806e6, "2,806 MB/s"),
            (Unit::Memory, 15_200_000.0, "15.2 MB"),
            (Unit::Percent, 0.04, "0.04 %"),
        ] {
            assert_eq!(unit.show(value), text);
        }
    }

    #[test]
    fn a_ratio_is_judged_by_the_way_that_is_good() {
        let rate = metric("get1.rate");
        assert_eq!(rate.requirement().unwrap(), ">= 0.90x");
        for (ratio, verdict) in [
            (1.2, Verdict::Aim),
            (0.9, Verdict::AtLeast),
            (0.89, Verdict::Short),
        ] {
            assert_eq!(rate.judge(Some(100.0), Some(ratio)), Some(verdict));
        }
        let ping = metric("ping.avg");
        assert_eq!(ping.requirement().unwrap(), "<= 1.50x");
        for (ratio, verdict) in [
            (0.99, Verdict::Aim),
            (1.5, Verdict::AtLeast),
            (1.51, Verdict::Short),
        ] {
            assert_eq!(ping.judge(Some(1.0), Some(ratio)), Some(verdict));
        }
        assert_eq!(ping.judge(Some(1.0), None), None);
    }

    #[test]
    fn a_value_is_judged_without_the_yardstick() {
        let start = metric("start.first_get");
        assert_eq!(start.requirement().unwrap(), "<= 100 ms");
        assert_eq!(start.judge(Some(0.03), None), Some(Verdict::AtLeast));
        assert_eq!(start.judge(None, Some(0.03)), None);
        assert_eq!(metric("ping.p50").judge(Some(1.0), Some(1.0)), None);
    }
}

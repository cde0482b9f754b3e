//! `wrk`, where it is installed: the load generator others have judged servers with.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::netns::Netns;
use crate::race::program::output;

/// What `wrk` may take beyond the time it was given.
const GRACE: Duration = Duration::from_secs(10);

/// What it reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Requests that were answered.
    pub answered: u64,
    /// A second.
    pub rate: f64,
    /// Median time to an answer.
    pub p50: Duration,
    /// What 99 % of the answers did not exceed.
    pub p99: Duration,
    /// Failed connections, reads, writes, time-outs, and statuses that are no success.
    pub errors: u64,
}

/// Runs it from `namespace`, with one thread.
///
/// # Errors
/// It cannot be started, does not end, or says something else than expected.
pub fn run(
    namespace: &Netns,
    program: &Path,
    (to, path): (SocketAddrV4, &str),
    connections: usize,
    time: Duration,
) -> io::Result<Summary> {
    let mut command = Command::new(program);
    command
        .args(["--threads=1", "--latency", "--timeout=5s"])
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={}s", time.as_secs().max(1)))
        .arg(format!("http://{to}{path}"));
    let output = output(namespace, &mut command, time + GRACE)?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| {
        let complaints = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("wrk said:\n{text}{complaints}"))
    })
}

/// Reads what it prints.
fn parse(text: &str) -> Option<Summary> {
    let after = |label: &str| {
        text.lines()
            .find_map(|line| line.trim_start().strip_prefix(label))
            .map(str::trim)
    };
    let answered = text
        .lines()
        .find_map(|line| line.trim_start().split_once(" requests in "))?;
    let mut errors = 0;
    if let Some(list) = after("Socket errors:") {
        for part in list.split(',') {
            errors += part.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        }
    }
    if let Some(count) = after("Non-2xx or 3xx responses:") {
        errors += count.parse::<u64>().ok()?;
    }
    Some(Summary {
        answered: answered.0.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50: time(after("50%")?)?,
        p99: time(after("99%")?)?,
        errors,
    })
}

/// As in `88.00us`, `1.01ms`, `2.50s`, `1.00m`.
fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (value, unit) = text.split_at(unit);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(value.parse::<f64>().ok()? * scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAID: &str = "\
Running 2s test @ http://192.168.123.150/index.html
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   499.61us  108.83us   3.21ms   86.40%
    Req/Sec    64.20k     2.31k   67.02k    70.00%
  Latency Distribution
     50%  488.00us
     75%  530.00us
     90%    0.93ms
     99%    1.04ms
  128456 requests in 2.00s, 30.14MB read
Requests/sec:  64210.33
Transfer/sec:     15.07MB
";

    #[test]
    fn a_report_is_read() {
        let mut summary = Summary {
            answered: 128_456,
            rate: 64_210.33,
            p50: Duration::from_micros(488),
            p99: Duration::from_micros(1040),
            errors: 0,
        };
        assert_eq!(parse(SAID), Some(summary));
        let errors = SAID.replace(
            "Requests/sec:",
            "  Socket errors: connect 1, read 2, write 3, timeout 4\n  \
             Non-2xx or 3xx responses: 90\nRequests/sec:",
        );
        summary.errors = 100;
        assert_eq!(parse(&errors), Some(summary));
        assert_eq!(parse("unable to connect to 192.168.123.150:80\n"), None);
    }

    #[test]
    fn times_have_units() {
        for (text, wanted) in [
            ("88.00us", Some(Duration::from_micros(88))),
            ("2.50s", Some(Duration::from_millis(2500))),
            ("1.00m", Some(Duration::from_mins(1))),
            ("1.00d", None),
            ("-1.00s", None),
            ("12", None),
        ] {
            assert_eq!(time(text), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_read_or_refused(text: String, at in 0..SAID.len()) {
            let _ = parse(&text);
            let _ = parse(&SAID[..at]);
            let _ = time(&text);
        }
    }
}

//! `ping`, where it is installed. That of iputils lets the kernel tell when an answer came
//! (`SO_TIMESTAMP`): what it takes to wake `ping` itself is nobody's round trip.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::netns::Netns;
use crate::race::program::output;

/// What `ping` may take beyond what its requests do.
const GRACE: Duration = Duration::from_secs(10);

/// Sends `count` requests of `size` octets, `interval` apart, and returns the round-trip times it
/// tells.
///
/// # Errors
/// It cannot be started or does not end, or requests were not answered.
pub fn run(
    namespace: &Netns,
    program: &Path,
    address: Ipv4Addr,
    (count, size): (u16, usize),
    interval: Duration,
) -> io::Result<Vec<Duration>> {
    let mut command = Command::new(program);
    command
        .args(["-n", "-c", &count.to_string(), "-s", &size.to_string()])
        .args(["-i", &interval.as_secs_f64().to_string(), "-W", "2"])
        .arg(address.to_string());
    let said = output(namespace, &mut command, interval * count.into() + GRACE)?;
    times_of(&said, count).map_err(io::Error::other)
}

/// The times of all `count` answers, or what went wrong.
fn times_of(said: &Output, count: u16) -> Result<Vec<Duration>, String> {
    let text = String::from_utf8_lossy(&said.stdout);
    let times = parse(&text);
    if times.len() == usize::from(count) {
        return Ok(times);
    }
    // Without an answer it may be its own fault: not all take so short an interval.
    let complaint = String::from_utf8_lossy(&said.stderr);
    if let (true, Some(complaint)) = (times.is_empty(), last_line(&complaint)) {
        return Err(format!("ping said: {complaint}; without it: --built-in"));
    }
    Err(format!(
        "{} of {count} requests were answered; ping said last: {}",
        times.len(),
        last_line(&text).unwrap_or("nothing")
    ))
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().rfind(|line| !line.is_empty())
}

/// The times, as in `64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.085 ms`. An answer to what
/// was answered before is not one.
fn parse(text: &str) -> Vec<Duration> {
    let answers = text
        .lines()
        .filter(|line| line.contains("ttl=") && !line.contains("DUP!"));
    let times = answers.filter_map(|line| {
        let (_, rest) = line.split_once("time=")?;
        let millis: f64 = rest.strip_suffix(" ms")?.parse().ok()?;
        Duration::try_from_secs_f64(millis / 1000.0).ok()
    });
    times.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    use proptest::prelude::*;

    const SAID: &str = "\
PING 192.168.123.150 (192.168.123.150) 56(84) bytes of data.
64 bytes from 192.168.123.150: icmp_seq=1 ttl=64 time=0.085 ms
From 192.168.123.1 icmp_seq=2 Destination Host Unreachable
64 bytes from 192.168.123.150: icmp_seq=3 ttl=64 time=12 ms
64 bytes from 192.168.123.150: icmp_seq=3 ttl=64 time=13 ms (DUP!)

--- 192.168.123.150 ping statistics ---
3 packets transmitted, 2 received, +1 duplicates, 33% packet loss, time 20ms
rtt min/avg/max/mdev = 0.085/6.042/12.000/5.957 ms
";

    #[test]
    fn each_answer_has_its_time() {
        let times = [Duration::from_micros(85), Duration::from_millis(12)];
        assert_eq!(parse(SAID), times);
    }

    fn said(stdout: &str, stderr: &str) -> Output {
        Output {
            status: ExitStatus::default(),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn a_request_without_an_answer_and_a_ping_that_refuses_are_told_apart() {
        assert_eq!(times_of(&said(SAID, ""), 2), Ok(parse(SAID)));
        assert_eq!(
            times_of(&said(SAID, ""), 3).unwrap_err(),
            "2 of 3 requests were answered; ping said last: \
             rtt min/avg/max/mdev = 0.085/6.042/12.000/5.957 ms"
        );
        assert_eq!(
            times_of(&said("", "ping: cannot flood\n"), 3).unwrap_err(),
            "ping said: ping: cannot flood; without it: --built-in"
        );
        assert_eq!(
            times_of(&said("", ""), 3).unwrap_err(),
            "0 of 3 requests were answered; ping said last: nothing"
        );
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_read(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_cut_short_tells_the_times_of_its_whole_lines(at in 0..SAID.len()) {
            let whole = SAID[..at].rfind('\n').map_or("", |end| &SAID[..end]);
            // Of a line cut behind its time, or before it says DUP, the time is told as well.
            let (times, least) = (parse(&SAID[..at]), parse(whole));
            prop_assert!(times.starts_with(&least) && times.len() <= least.len() + 1);
        }
    }
}

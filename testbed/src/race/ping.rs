//! `ping`, where it is installed. That of iputils lets the kernel tell when an answer came
//! (`SO_TIMESTAMP`): what it takes to wake `ping` itself is nobody's round trip.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::netns::Netns;
use crate::race::program::{OUTPUT_MAX, output};

/// What `ping` may take beyond what its requests do.
const GRACE: Duration = Duration::from_secs(10);

/// Requests at most: each makes a line of output.
pub const REQUESTS_MAX: u16 = 500;
const LINE_MAX: usize = 100;
const _: () = assert!(REQUESTS_MAX as usize * LINE_MAX < OUTPUT_MAX);

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
    let count = count.min(REQUESTS_MAX);
    let mut command = Command::new(program);
    command
        .args(["-n", "-c", &count.to_string(), "-s", &size.to_string()])
        .args(["-i", &interval.as_secs_f64().to_string(), "-W", "2"])
        .arg(address.to_string());
    let text = output(namespace, &mut command, interval * count.into() + GRACE)?;
    let times = parse(&text);
    if times.len() == usize::from(count) {
        return Ok(times);
    }
    let last = text.lines().rfind(|line| !line.is_empty());
    Err(io::Error::other(format!(
        "{} of {count} requests were answered; ping said last: {}",
        times.len(),
        last.unwrap_or("nothing")
    )))
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

    proptest! {
        #[test]
        fn whatever_it_says_is_read(text: String, at in 0..SAID.len()) {
            let _ = parse(&text);
            prop_assert!(parse(&SAID[..at]).len() <= 3); // cut before it says DUP
        }
    }
}

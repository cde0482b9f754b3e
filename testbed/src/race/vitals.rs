//! What a process and the machine say of themselves in `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use crate::process::Server;

/// CPU time of all threads of `server`, to the nanosecond where the kernel counts so.
///
/// # Errors
/// It has ended.
pub fn cpu_time(server: &Server) -> io::Result<Duration> {
    match of_threads(server, "schedstat", run_time) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => server.cpu_time(),
        Err(error) => Err(error),
    }
}

/// How often all threads of `server` have gone to sleep, and so been woken.
///
/// # Errors
/// It has ended.
pub fn sleeps(server: &Server) -> io::Result<u64> {
    of_threads(server, "status", voluntary_switches)
}

fn of_threads(server: &Server, file: &str, read: fn(&str) -> Option<u64>) -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", server.pid()))? {
        let text = fs::read_to_string(thread?.path().join(file))?;
        sum += read(&text).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(sum)
}

/// The first field: nanoseconds on a CPU.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn voluntary_switches(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line?.trim().parse().ok()
}

/// How the kernel's stack answers losses, as in `cubic`.
pub fn congestion_control() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").ok()?;
    Some(name.trim().to_owned())
}

/// Processes that wanted a CPU during the last minute, on average.
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// In words: processor, number of CPUs, kernel.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find(|line| line.starts_with("model name") || line.starts_with("Model"))
        .and_then(|line| line.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cpus = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cpus} CPUs, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_tell_their_run_time_and_how_often_they_slept() {
        assert_eq!(run_time("123456789 55 7\n"), Some(123_456_789));
        assert_eq!(run_time(""), None);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(voluntary_switches(status), Some(150));
        assert_eq!(voluntary_switches("Name:\tx\n"), None);
    }
}

//! What a server uses, as `/proc` tells: its process, and those it has started to do its work.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::process::Server;

impl Server {
    /// Memory it occupies, octets: resident (`VmRSS`), and where there are several processes the
    /// sum of their shares (`Pss`).
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_memory(&self) -> io::Result<u64> {
        match &*self.family()? {
            [alone] => kib_of(*alone, "status", "VmRSS:"),
            several => several
                .iter()
                .map(|process| kib_of(*process, "smaps_rollup", "Pss:"))
                .sum(),
        }
    }

    /// CPU time it has used, user and system: of the threads that still run to the nanosecond,
    /// where the kernel counts so (`/proc/PID/task/TID/schedstat`); else of all it ever had, in
    /// clock ticks.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let family = self.family()?;
        if of(self.process(), "schedstat").exists() {
            let nanos = of_threads(&family, "schedstat", run_time)?;
            return Ok(Duration::from_nanos(nanos));
        }
        let mut sum = 0;
        for process in family {
            let stat = fs::read_to_string(of(process, "stat"))?;
            sum += ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        }
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|hz| u64::try_from(hz).ok());
        Ok(Duration::from_millis(
            sum * 1000 / per_second.unwrap_or(100).max(1),
        ))
    }

    /// How often its threads that still run went to sleep by themselves.
    ///
    /// # Errors
    /// It has ended.
    pub fn sleeps(&self) -> io::Result<u64> {
        of_threads(&self.family()?, "status", |status| {
            field(status, "voluntary_ctxt_switches:")
        })
    }

    /// The processes it has started that still run.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(super) fn children(&self) -> io::Result<Vec<Pid>> {
        let parent = self.process();
        let is_child = |process: &Pid| {
            // One that has ended meanwhile is none.
            let stat = fs::read_to_string(of(*process, "stat")).unwrap_or_default();
            parent_of(&stat) == Some(parent)
        };
        let names =
            fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let processes = names.filter_map(|name| name.parse().ok().map(Pid::from_raw));
        Ok(processes.filter(is_child).collect())
    }

    fn family(&self) -> io::Result<Vec<Pid>> {
        let mut family = self.children()?;
        family.insert(0, self.process());
        Ok(family)
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.pid().cast_signed())
    }
}

fn of(process: Pid, file: &str) -> PathBuf {
    format!("/proc/{process}/{file}").into()
}

fn kib_of(process: Pid, file: &str, label: &str) -> io::Result<u64> {
    let text = fs::read_to_string(of(process, file))?;
    Ok(field(&text, label).ok_or(io::ErrorKind::InvalidData)? * 1024)
}

fn of_threads(
    processes: &[Pid],
    file: &str,
    read: impl Fn(&str) -> Option<u64>,
) -> io::Result<u64> {
    let mut sum = 0;
    for process in processes {
        for thread in fs::read_dir(of(*process, "task"))? {
            // One that cannot be read has ended since the list was made.
            if let Ok(text) = fs::read_to_string(thread?.path().join(file)) {
                sum += read(&text).ok_or(io::ErrorKind::InvalidData)?;
            }
        }
    }
    Ok(sum)
}

/// The number of the line that begins with `label`.
fn field(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The first field of `schedstat`: nanoseconds on a CPU.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The fields of `stat` from the third on: the name before them, in brackets, may hold anything.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields.split_whitespace()
}

fn parent_of(stat: &str) -> Option<Pid> {
    Some(Pid::from_raw(after_name(stat).nth(1)?.parse().ok()?))
}

/// `utime` and `stime`, fields 14 and 15.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = after_name(stat).skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_tell_their_run_time_and_how_often_they_slept() {
        assert_eq!(run_time("123456789 55 7\n"), Some(123_456_789));
        assert_eq!(run_time(""), None);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(150));
        assert_eq!(field("Name:\tx\n", "voluntary_ctxt_switches:"), None);
        assert_eq!(field("Rss:  20 kB\nPss:   7 kB\n", "Pss:"), Some(7));
    }

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "77 (a) 1 (b c) S 76 77 77 0 -1 4194560 1 2 3 4 500 21 0 0 20 0 1 0 9";
        assert_eq!(parent_of(stat), Some(Pid::from_raw(76)));
        assert_eq!(ticks(stat), Some(521));
        assert_eq!((parent_of(""), ticks("77 (x) S 76")), (None, None));
    }
}

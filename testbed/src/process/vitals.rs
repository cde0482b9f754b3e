//! What a server uses, as `/proc` tells: its process, and those it has started to do its work.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::process::Server;

impl Server {
    /// Memory it occupies, octets: resident (`VmRSS`), and where there are several processes the
    /// sum of their shares (`Pss`).
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_memory(&self) -> io::Result<u64> {
        if self.children()?.is_empty() {
            return kib_of(self.process(), "status", "VmRSS:");
        }
        self.sum(|process| kib_of(process, "smaps_rollup", "Pss:"))
    }

    /// CPU time it has used, user and system, to the nanosecond: of every thread it ever had
    /// (`clock_getcpuclockid(3)`).
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        self.sum(|process| {
            match clock_gettime(clock_getcpuclockid(process)?) {
                Ok(time) => Ok(time.into()),
                // There is no such clock any more.
                Err(Errno::EINVAL) => Err(Errno::ESRCH.into()),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// How often its threads that still run went to sleep by themselves.
    ///
    /// # Errors
    /// It has ended.
    pub fn sleeps(&self) -> io::Result<u64> {
        self.sum(|process| {
            let mut sum = 0;
            for thread in fs::read_dir(of(process, "task"))? {
                let status = fs::read_to_string(thread?.path().join("status"));
                if let Some(status) = unless_ended(status)? {
                    let sleeps = field(&status, "voluntary_ctxt_switches:");
                    sum += sleeps.ok_or(io::ErrorKind::InvalidData)?;
                }
            }
            Ok(sum)
        })
    }

    /// The processes it has started that still run.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(super) fn children(&self) -> io::Result<Vec<Pid>> {
        let names =
            fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let processes = names.filter_map(|name| name.parse().ok().map(Pid::from_raw));
        Ok(processes
            .filter(|process| self.is_parent_of(*process))
            .collect())
    }

    /// Whether it has started `process`, which still runs.
    pub(super) fn is_parent_of(&self, process: Pid) -> bool {
        // A name may be cut within a character; one that has ended meanwhile is nobody's.
        let stat = fs::read(of(process, "stat")).unwrap_or_default();
        parent_of(&String::from_utf8_lossy(&stat)) == Some(self.process())
    }

    /// Of its process and its children, but for those that end meanwhile.
    fn sum<T: std::ops::Add<Output = T>>(
        &self,
        read: impl Fn(Pid) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut sum = read(self.process())?;
        for child in self.children()? {
            if let Some(part) = unless_ended(read(child))? {
                sum = sum + part;
            }
        }
        Ok(sum)
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

/// Nothing of what has ended.
fn unless_ended<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of the line that begins with `label`.
fn field(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The parent, field 4 of `stat`, of a process that still runs. The name before it, in brackets,
/// may hold anything.
fn parent_of(stat: &str) -> Option<Pid> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Pid::from_raw(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_label() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(150));
        assert_eq!(field("Name:\tx\n", "voluntary_ctxt_switches:"), None);
        assert_eq!(field("Rss:  20 kB\nPss:   7 kB\n", "Pss:"), Some(7));
    }

    #[test]
    fn a_process_may_have_any_name_and_one_that_ended_has_no_parent() {
        let stat = "77 (a) 1 (b c) S 76 77 77 0 -1 4194560 1 2 3 4 500 21 0 0 20 0 1 0 9";
        assert_eq!(parent_of(stat), Some(Pid::from_raw(76)));
        assert_eq!(parent_of("77 (sh) Z 76 77"), None);
        assert_eq!((parent_of(""), parent_of("77 (x) S")), (None, None));
    }

    #[test]
    fn what_has_ended_is_left_out_and_what_cannot_be_read_is_told() {
        let of_system = |errno: Errno| Err::<u8, _>(io::Error::from(errno));
        assert_eq!(unless_ended(Ok(7)).unwrap(), Some(7));
        assert_eq!(unless_ended(of_system(Errno::ENOENT)).unwrap(), None);
        assert_eq!(unless_ended(of_system(Errno::ESRCH)).unwrap(), None);
        unless_ended(of_system(Errno::EMFILE)).unwrap_err();
    }
}

//! Programs others have judged servers with, where they are installed.

use std::env;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::netns::Netns;

const POLL: Duration = Duration::from_millis(20);

/// Octets of a program's output that are taken; one that says more is ended by `SIGPIPE`.
const OUTPUT_MAX: u64 = 1 << 20;

/// A program by its name, also where only root looks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|file| {
            let executable =
                |of: std::fs::Metadata| of.is_file() && of.permissions().mode() & 0o111 != 0;
            file.metadata().is_ok_and(executable)
        })
}

/// Runs `command` in `namespace`, and returns what it printed, however it ended.
///
/// # Errors
/// It cannot be started, or does not end within `patience`.
pub fn output(namespace: &Netns, command: &mut Command, patience: Duration) -> io::Result<Output> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = namespace.spawn(command)?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            let name = command.get_program().to_string_lossy().into_owned();
            let told = format!("{name} does not end");
            return Err(io::Error::new(io::ErrorKind::TimedOut, told));
        }
        thread::sleep(POLL);
    };
    let taken = |drained: JoinHandle<Vec<u8>>| drained.join().unwrap_or_default();
    Ok(Output {
        status,
        stdout: taken(stdout),
        stderr: taken(stderr),
    })
}

/// Reads on a thread: whoever fills a pipe that nobody reads stands still.
fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut taken = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut taken); // what there is
        }
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}

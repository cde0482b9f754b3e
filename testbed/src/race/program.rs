//! Programs others have judged servers with, where they are installed.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::netns::Netns;

const POLL: Duration = Duration::from_millis(20);

/// Octets a pipe holds, of which it is read at the end: who says more waits, and is ended.
pub const OUTPUT_MAX: usize = 65_536;

/// Runs `command` in `namespace`, and returns what it printed, however it ended.
///
/// # Errors
/// It cannot be started, or does not end within `patience`.
pub fn output(namespace: &Netns, command: &mut Command, patience: Duration) -> io::Result<String> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = namespace.spawn(command)?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            let name = command.get_program().to_string_lossy().into_owned();
            let told = format!("{name} does not end");
            return Err(io::Error::new(io::ErrorKind::TimedOut, told));
        }
        thread::sleep(POLL);
    }
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text)?;
    }
    Ok(text)
}

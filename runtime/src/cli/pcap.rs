//! `pcap trace`: what captures are and were, in words.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::capture::Status;

/// `pcap trace status`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct StatusTable(pub Option<Status>);

/// ` 3 packets were lost: ...`, when some were.
fn lost(status: &Status) -> String {
    match status.lost {
        0 => String::new(),
        lost => format!("{lost} packets are missing: the file was written too slowly\n"),
    }
}

impl fmt::Display for StatusTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = &self.0 else {
            return writeln!(f, "pcap capture is off...");
        };
        let interface = match &status.interface {
            Some(name) => format!("interface {name}"),
            None => "any interface".to_owned(),
        };
        writeln!(
            f,
            "max is {}, for {interface} to file {}",
            status.max, status.file
        )?;
        let kinds = &status.kinds;
        match &status.ended {
            None => writeln!(
                f,
                "pcap {kinds} capture is on: {} of {} pkts...",
                status.packets, status.max
            )?,
            Some(why) => writeln!(
                f,
                "pcap {kinds} capture is off: {} pkts, {why}",
                status.packets
            )?,
        }
        f.write_str(&lost(status))
    }
}

/// The answer to `pcap trace off`.
pub fn ended(status: &Status) -> String {
    let mut text = format!(
        "Write {} packets to {}, and stop capture...\n",
        status.packets, status.file
    );
    match status.ended.as_deref() {
        None => text.push_str("the file is still being written\n"),
        Some("told to end") => {}
        Some(why) => {
            let _ = writeln!(text, "it had ended before: {why}");
        }
    }
    text + &lost(status)
}

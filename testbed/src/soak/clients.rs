//! Clients that compare every octet.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::trouble::Away;
use super::{Bed, ENDPOINT, PATIENCE};
use crate::client::{Http, ping};
use crate::random::SplitMix64;

/// Clients of each server.
pub(super) const EACH: u64 = 3;

/// The files: the name says which octets are in it. The largest exceeds what is cached.
const FILES: [(&str, usize); 6] = [
    ("8", 8),
    ("1000", 1000),
    ("64k", 64 << 10),
    ("300000", 300_000),
    ("1m", 1 << 20),
    ("6m", 6 << 20),
];
/// Requests of one connection at most.
const REQUESTS_MAX: usize = 50;
/// A client's rest after a request.
const REST: Duration = Duration::from_millis(3);
/// How long the quiet may take to come back.
const QUIET: Duration = Duration::from_secs(20);

/// What clients got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests answered, every octet right.
    pub served: u64,
    /// Octets of their bodies.
    pub octets: u64,
    /// Requests with a wrong octet, length or status.
    pub wrong: u64,
    /// Requests not answered while the link was away.
    pub explained: u64,
    /// Requests not answered, and nothing explains it.
    pub unexplained: u64,
    /// The longest time a served request took.
    pub slowest: Duration,
}

/// Compares what is written with what a file of this name holds.
struct Comparing {
    random: SplitMix64,
    word: [u8; 8],
    at: usize,
    length: usize,
}

impl Comparing {
    fn new(length: usize) -> Self {
        Self {
            random: SplitMix64::new(length as u64),
            word: [0; 8],
            at: 0,
            length,
        }
    }

    fn next(&mut self) -> u8 {
        if self.at.is_multiple_of(8) {
            self.word = self.random.draw().to_le_bytes();
        }
        let octet = self.word.get(self.at % 8).copied().unwrap_or(0);
        self.at += 1;
        octet
    }
}

impl Write for Comparing {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for octet in octets {
            if self.at == self.length || self.next() != *octet {
                let what = format!("octet {} is wrong", self.at);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory with the files, for any user to read.
pub(super) fn write_site() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("dataplane-soak-")
        .tempdir()?;
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    open(folder.path(), 0o755)?;
    let (www, run) = (folder.path().join("www"), folder.path().join("run"));
    fs::create_dir(&www)?;
    fs::create_dir(&run)?;
    open(&run, 0o777)?; // the operator socket is made by the server's user
    for (name, length) in FILES {
        let mut contents = Comparing::new(length);
        let octets: Vec<u8> = (0..length).map(|_| contents.next()).collect();
        fs::write(www.join(name), octets)?;
    }
    Ok(folder)
}

/// Asks for files until it is over. `away`: when the link was, if it ever is.
pub(super) fn load(
    bed: &Bed,
    seed: u64,
    over: &AtomicBool,
    away: Option<&Away>,
    tally: &Mutex<Tally>,
) {
    let mut random = SplitMix64::new(seed);
    while !over.load(Ordering::Relaxed) {
        let requests = match random.below(3) {
            0 => 1,
            _ => 1 + random.below(REQUESTS_MAX),
        };
        let mut begun = Instant::now();
        let connected = Http::connect(bed.wiring.client().namespace(), ENDPOINT, PATIENCE)
            .map_err(|error| io::Error::new(error.kind(), error));
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                count(tally, &Err(error), begun, away);
                continue;
            }
        };
        for _ in 0..requests {
            // Large files less often than small ones.
            let place = random.below(FILES.len()).min(random.below(FILES.len()));
            let outcome = fetch(&mut connection, place);
            count(tally, &outcome, begun, away);
            if outcome.is_err() || over.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(REST);
            begun = Instant::now();
        }
    }
}

fn fetch(connection: &mut Http, place: usize) -> io::Result<usize> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let (name, length) = FILES.get(place).copied().unwrap_or(("8", 8));
    let mut comparing = Comparing::new(length);
    let answer = connection.download(&format!("/{name}"), &mut comparing)?;
    if answer.status != 200 || comparing.at != length {
        let got = comparing.at;
        return Err(wrong(format!(
            "{name}: status {} with {got} octets",
            answer.status
        )));
    }
    Ok(length)
}

fn count(tally: &Mutex<Tally>, outcome: &io::Result<usize>, begun: Instant, away: Option<&Away>) {
    let ended = Instant::now();
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(octets) => {
            tally.served += 1;
            tally.octets += *octets as u64;
            tally.slowest = tally.slowest.max(ended - begun);
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => tally.wrong += 1,
        Err(_) if away.is_some_and(|away| away.during(begun, ended)) => tally.explained += 1,
        Err(_) => tally.unexplained += 1,
    }
}

/// Whether a server answers a ping and serves every file, now that nobody disturbs it.
pub(super) fn all_is_well(bed: &Bed) -> Result<(), String> {
    let client = bed.wiring.client().namespace();
    let start = Instant::now();
    while let Err(error) = ping(client, *ENDPOINT.ip(), 1, 56, Duration::from_secs(1)) {
        if start.elapsed() > QUIET {
            return Err(error.to_string());
        }
    }
    let mut connection =
        Http::connect(client, ENDPOINT, PATIENCE).map_err(|error| error.to_string())?;
    for place in 0..FILES.len() {
        fetch(&mut connection, place).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_octet_and_one_too_many_are_seen() {
        let folder = write_site().unwrap();
        let mut octets = fs::read(folder.path().join("www/1000")).unwrap();
        assert_eq!(octets.len(), 1000);
        let write = |octets: &[u8]| Comparing::new(1000).write_all(octets);
        write(&octets).unwrap();
        octets.push(0);
        write(&octets).unwrap_err();
        octets[999] ^= 1;
        let error = write(&octets[..1000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn failures_are_told_apart() {
        let tally = Mutex::new(Tally::default());
        let (away, begun) = (Away::default(), Instant::now());
        let broken = || Err(io::ErrorKind::ConnectionReset.into());
        count(&tally, &broken(), begun, Some(&away));
        away.while_away(|| ());
        count(&tally, &broken(), begun, Some(&away));
        count(
            &tally,
            &Err(io::ErrorKind::InvalidData.into()),
            begun,
            Some(&away),
        );
        count(&tally, &Ok(7), begun, None);
        let tally = *tally.lock().unwrap();
        let counts = (
            tally.served,
            tally.wrong,
            tally.explained,
            tally.unexplained,
        );
        assert_eq!(counts, (1, 1, 1, 1));
    }
}

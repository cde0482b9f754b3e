//! What disturbs the servers: attacks, changes of the host, a bad wire.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Bed, Stage, socket};
use crate::attack::{Attacker, Kind};
use crate::error::WiringError;
use crate::link::Links;
use crate::random::SplitMix64;
use crate::relay::Impairment;
use crate::wiring::{NODE_DEVICE, POD_DEVICE};

/// Frames of one attack per second at most.
const RATE_MAX: usize = 20_000;
/// Frames of one attack at most.
const FRAMES_MAX: u64 = 20_000;
/// Between two attacks, two changes, two kinds of wire.
const BETWEEN_ATTACKS: Duration = Duration::from_millis(500);
const BETWEEN_CHANGES: Duration = Duration::from_secs(3);
const BETWEEN_WIRES: Duration = Duration::from_secs(5);
/// How long the link is away when it is.
const AWAY: Duration = Duration::from_millis(300);
/// How long after its return a failure is still explained: a lost handshake is tried again after
/// 1, 2 and 4 seconds.
const AFTERWARDS: Duration = Duration::from_secs(8);

/// When the link was away.
#[derive(Debug, Default)]
pub(super) struct Away(Mutex<Vec<(Instant, Option<Instant>)>>);

impl Away {
    /// Does something that takes the link away.
    pub(super) fn while_away<T>(&self, f: impl FnOnce() -> T) -> T {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lock().push((Instant::now(), None));
        let done = f();
        if let Some(last) = lock().last_mut() {
            last.1 = Some(Instant::now());
        }
        done
    }

    /// Whether it was, or had just been, at some time between these.
    pub(super) fn during(&self, begun: Instant, ended: Instant) -> bool {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().any(|(from, until)| {
            *from <= ended && until.is_none_or(|until| begun <= until + AFTERWARDS)
        })
    }
}

fn add<'a>(counts: &Mutex<BTreeMap<&'a str, u64>>, name: &'a str, count: u64) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(name).or_default() += count;
}

/// Rests, in small pieces; whether it goes on.
fn rest(stage: &Stage, time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time && !stage.over.load(Ordering::Relaxed) {
        thread::sleep(time.min(Duration::from_millis(50)));
    }
    !stage.over.load(Ordering::Relaxed)
}

/// One kind of flood after the other.
pub(super) fn attack(
    bed: &Bed,
    seed: u64,
    stage: &Stage,
    counts: &Mutex<BTreeMap<&'static str, u64>>,
) {
    let mut random = SplitMix64::new(seed ^ 0xa77a);
    while rest(stage, BETWEEN_ATTACKS) {
        // The pod's device may be away, or another one than before.
        let Ok(mut attacker) = Attacker::new(&bed.wiring, random.draw()) else {
            continue;
        };
        let kinds = Kind::ALL;
        let Some(kind) = kinds.get(random.below(kinds.len())) else {
            continue;
        };
        let rate = u32::try_from(500 + random.below(RATE_MAX)).unwrap_or(500);
        let count = random.draw() % FRAMES_MAX;
        let sent = attacker.flood(*kind, count, rate, &stage.over);
        add(counts, kind.name(), sent.frames);
    }
}

/// A change of the host, or of the configuration.
type Change = fn(&Bed, &Stage, &mut SplitMix64) -> Result<(), WiringError>;

const CHANGES: [(&str, Change); 8] = [
    ("link down and up", |bed, stage, _| {
        let mut links = Links::open(bed.wiring.pod())?;
        stage.away.while_away(|| {
            links.set_down(POD_DEVICE)?;
            thread::sleep(AWAY);
            links.set_up(POD_DEVICE)
        })
    }),
    ("carrier lost and back", |bed, stage, _| {
        let mut links = Links::open(bed.wiring.node())?;
        stage.away.while_away(|| {
            links.set_down(NODE_DEVICE)?;
            thread::sleep(AWAY);
            links.set_up(NODE_DEVICE)
        })
    }),
    ("interface deleted and made again", |bed, stage, _| {
        let mut pod = Links::open(bed.wiring.pod())?;
        let mut node = Links::open(bed.wiring.node())?;
        let mac = pod.get(POD_DEVICE)?.mac;
        stage.away.while_away(|| {
            pod.delete(POD_DEVICE)?;
            thread::sleep(AWAY);
            node.add_macvlan(NODE_DEVICE, POD_DEVICE, bed.wiring.pod())?;
            pod.set_mac(POD_DEVICE, mac)?;
            pod.set_up(POD_DEVICE)
        })
    }),
    ("Ethernet address changed", |bed, stage, random| {
        let mut links = Links::open(bed.wiring.pod())?;
        let [.., a, b] = random.octets::<4>();
        stage
            .away
            .while_away(|| links.set_mac(POD_DEVICE, [0x02, 0, 0, 0, a, b]))
    }),
    ("MTU changed and back", |bed, _, random| {
        let mut links = Links::open(bed.wiring.pod())?;
        let mtu = u32::try_from(600 + random.below(900)).unwrap_or(1400);
        links.set_mtu(POD_DEVICE, mtu)?;
        thread::sleep(AWAY * 3);
        links.set_mtu(POD_DEVICE, 1500)
    }),
    ("configuration reloaded", |bed, _, random| {
        let written = write_configuration(bed.folder.path(), random.below(3));
        let done = written.and_then(|()| bed.with_server(|server| server.signal(Signal::SIGHUP)));
        done.map_err(|error| WiringError::new("reloading the configuration", error))
    }),
    ("sub-interface made and deleted", |bed, _, _| {
        ask(bed, "create sub-interfaces host-macvlan0 125")?;
        ask(bed, "set interface state host-macvlan0.125 up")?;
        thread::sleep(AWAY);
        ask(bed, "delete sub-interfaces host-macvlan0.125")
    }),
    ("stopped and continued", |bed, stage, _| {
        let signal = |signal| {
            let done = bed.with_server(|server| server.signal(signal));
            done.map_err(|error| WiringError::new("stopping the server", error))
        };
        stage.away.while_away(|| {
            signal(Signal::SIGSTOP)?;
            thread::sleep(AWAY * 3);
            signal(Signal::SIGCONT)
        })
    }),
];

/// One change after the other.
pub(super) fn change(
    bed: &Bed,
    seed: u64,
    stage: &Stage,
    counts: &Mutex<BTreeMap<&'static str, u64>>,
) {
    let mut random = SplitMix64::new(seed ^ 0xc4a6);
    let mut nth = random.below(CHANGES.len());
    while rest(stage, BETWEEN_CHANGES) {
        nth = (nth + 1 + random.below(2)) % CHANGES.len();
        let Some((name, change)) = CHANGES.get(nth) else {
            continue;
        };
        match change(bed, stage, &mut random) {
            Ok(()) => add(counts, name, 1),
            Err(_) => add(counts, "refused by the kernel or the server", 1),
        }
    }
}

/// Asks the server's operator socket.
fn ask(bed: &Bed, line: &str) -> Result<(), WiringError> {
    let program = bed.with_server(|server| format!("/proc/{}/exe", server.pid()));
    let done = Command::new(program)
        .args(["ctl", "-s"])
        .arg(socket(&bed.folder))
        .arg(line)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(WiringError::new(line, io::Error::other(status.to_string()))),
        Err(error) => Err(WiringError::new(line, error)),
    }
}

/// Writes one of three configurations, which differ in what clients of VLAN 123 do not notice.
pub(super) fn write_configuration(folder: &Path, which: usize) -> io::Result<()> {
    let www = folder.join("www");
    let other = if which == 1 {
        "[[interface.sub-interface]]\nid = 124\naddresses = [\"192.168.124.150/24\"]\n"
    } else {
        ""
    };
    let age = if which == 2 { "1m" } else { "10m" };
    let text = format!(
        "[[interface]]\nname = \"{POD_DEVICE}\"\n\
         [[interface.sub-interface]]\nid = 123\naddresses = [\"192.168.123.150/24\"]\n{other}\
         [[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"192.168.123.1\"\n\
         [[http]]\nwww-root = \"{}\"\nmax-age = \"{age}\"\n",
        www.display()
    );
    fs::write(folder.join("dataplane.toml"), text)
}

/// The wire gets better and worse.
pub(super) fn impair(
    bed: &Bed,
    seed: u64,
    stage: &Stage,
    counts: &Mutex<BTreeMap<&'static str, u64>>,
) {
    const WIRES: [(&str, f64, u64); 5] = [
        ("wire: good", 0.0, 0),
        ("wire: 5 ms", 0.0, 5),
        ("wire: 0.1 % loss, 10 ms", 0.001, 10),
        ("wire: 1 % loss, 2 ms", 0.01, 2),
        ("wire: 3 % loss", 0.03, 0),
    ];
    let mut random = SplitMix64::new(seed ^ 0x105e);
    loop {
        if let Some((name, loss, millis)) = WIRES.get(random.below(WIRES.len())) {
            let direction = |seed| Impairment {
                loss: *loss,
                delay: Duration::from_millis(*millis),
                seed,
            };
            bed.wiring
                .impair([direction(random.draw()), direction(random.draw())]);
            add(counts, name, 1);
        }
        if !rest(stage, BETWEEN_WIRES) {
            return bed.wiring.impair([Impairment::default(); 2]);
        }
    }
}

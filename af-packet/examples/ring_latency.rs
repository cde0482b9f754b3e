//! Measures the receive rings against each other: round trips and a flood, over a veth pair in a
//! network namespace of its own. Needs root.
//!
//! `cargo run --release -p dataplane-af-packet --example ring_latency`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use af_packet::{Device, LinkInfo, Options, Sockets};
use dataplane::{Batch, Frame, IfIndex, Port};
use nix::sched::{CloneFlags, unshare};

const ROUNDS: usize = 10_000;
const FLOOD: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn ip(arguments: &str) -> Outcome<()> {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("ip {arguments} failed").into())
    }
}

fn open(name: &str, options: &Options) -> Outcome<Device> {
    let mut device = Sockets::open(name)?.map(IfIndex(0), options)?;
    device.attach(&LinkInfo::by_name(name)?)?;
    Ok(device)
}

/// A frame of 60 octets of an experimental EtherType.
fn fill(frame: &mut Frame<'_>) {
    frame.octets_mut().fill(0);
    if let Some(header) = frame.octets_mut().first_chunk_mut::<14>() {
        *header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    }
}

/// Sends everything back, sleeping when there is nothing.
fn echo(mut device: Device, stop: &AtomicBool) -> Outcome<()> {
    while !stop.load(Ordering::Relaxed) {
        device.wait(Some(Duration::from_millis(50)), &[])?;
        let (mut rx, mut tx) = device.turn();
        let mut batch = Batch::new();
        rx.fill(&mut batch);
        for frame in batch.drain() {
            let _ = tx.transmit(frame);
        }
    }
    Ok(())
}

fn round_trips(server: &Options) -> Outcome<()> {
    let mut client = open("a", &Options::v2())?;
    let device = open("b", server)?;
    let stop = AtomicBool::new(false);
    let mut times = Vec::with_capacity(ROUNDS);
    std::thread::scope(|scope| -> Outcome<()> {
        let server = scope.spawn(|| echo(device, &stop));
        let mut rounds = 0;
        while rounds < ROUNDS {
            let begun = Instant::now();
            {
                let (_rx, mut tx) = client.turn();
                let Some(mut frame) = tx.alloc(60) else {
                    continue;
                };
                fill(&mut frame);
                let _ = tx.transmit(frame);
            }
            while client.wait(Some(Duration::from_secs(1)), &[])?.rx {
                let (mut rx, _tx) = client.turn();
                if rx.fill(&mut Batch::new()) > 0 {
                    break;
                }
            }
            times.push(begun.elapsed());
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        server.join().map_err(|_| "the server panicked")?
    })?;
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1000].as_secs_f64() * 1e6;
    println!(
        "  round trip: p50 {:.1} us, p99 {:.1} us ({} rounds)",
        at(500),
        at(990),
        times.len()
    );
    Ok(())
}

fn flood(options: &Options) -> Outcome<()> {
    let mut sender = open("a", &Options::v2())?;
    let mut device = open("b", options)?;
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let (received, sent) = std::thread::scope(|scope| -> Outcome<(u64, u64)> {
        let reader = scope.spawn(|| -> Outcome<u64> {
            while !stop.load(Ordering::Relaxed) {
                device.wait(Some(Duration::from_millis(50)), &[])?;
                let (mut rx, _tx) = device.turn();
                rx.fill(&mut Batch::new());
            }
            Ok(device.rx_counters().frames)
        });
        while begun.elapsed() < FLOOD {
            let (_rx, mut tx) = sender.turn();
            for _ in 0..60 {
                let Some(mut frame) = tx.alloc(60) else { break };
                fill(&mut frame);
                let _ = tx.transmit(frame);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let received = reader.join().map_err(|_| "the receiver panicked")??;
        Ok((received, sender.tx_counters().frames))
    })?;
    let elapsed = begun.elapsed().as_micros();
    let rate = |frames: u64| u128::from(frames) * 1000 / elapsed;
    println!(
        "  flood of 60 octets: {} thousand a second sent, {} received",
        rate(sent),
        rate(received)
    );
    Ok(())
}

fn main() -> Outcome<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link add name a type veth peer name b")?;
    for name in ["a", "b"] {
        ip(&format!("link set dev {name} addrgenmode none"))?;
        ip(&format!("link set dev {name} up"))?;
    }
    let slow = Options {
        early_read: false,
        retire_timeout: Duration::from_millis(1),
        ..Options::v3()
    };
    for (name, options) in [
        ("TPACKET_V2", Options::v2()),
        ("TPACKET_V3, doorbell and early read", Options::v3()),
        ("TPACKET_V3, retire timeout 1 ms", slow),
    ] {
        println!("{name}, {} KiB mapped", options.footprint() >> 10);
        round_trips(&options)?;
        flood(&options)?;
    }
    Ok(())
}

//! The proof of concept's wiring for scripts, with a second client on VLAN 124 (192.168.124.1/24):
//! builds it, prints each namespace as a line
//! `NAME=PATH` for `nsenter --net=PATH`, and takes it away when standard input ends, so that it
//! cannot outlive the script that started it.
//!
//! ```sh
//! coproc WIRE { cargo run -p testbed --example wire; }
//! ```

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "its output is for the script that started it"
)]

use std::error::Error;
use std::io;
use std::net::Ipv4Addr;

use testbed::tag::Tag;
use testbed::wiring::{Options, Wiring};

fn main() -> Result<(), Box<dyn Error>> {
    let mut wiring = Wiring::poc(Options::default())?;
    let second = wiring.add_client(&[Tag::customer(124)], (Ipv4Addr::new(192, 168, 124, 1), 24))?;
    println!(
        "client={}",
        wiring.client().namespace().proc_path().display()
    );
    println!(
        "client124={}",
        wiring.clients()[second].namespace().proc_path().display()
    );
    println!("node={}", wiring.node().proc_path().display());
    println!("pod={}", wiring.pod().proc_path().display());
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

//! The proof of concept's wiring for scripts: builds it, prints each namespace as a line
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

use testbed::wiring::{Options, Wiring};

fn main() -> Result<(), Box<dyn Error>> {
    let wiring = Wiring::poc(Options::default())?;
    println!(
        "client={}",
        wiring.client().namespace().proc_path().display()
    );
    println!("node={}", wiring.node().proc_path().display());
    println!("pod={}", wiring.pod().proc_path().display());
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

//! The wiring as an ordinary user. A program of its own: the kernel lets only a process with a
//! single thread enter a user namespace. As root it starts itself again as nobody.

#![expect(
    clippy::print_stdout,
    reason = "a test without the harness tells what it did"
)]

use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Uid;
use testbed::client::{PING_SIZE, ping};
use testbed::netns::{enter_user_namespace, may_wire};
use testbed::process::{Rights, Server};
use testbed::vlan_client::VlanClient;
use testbed::wiring::{Options, SERVER_ADDRESS, VLAN, Wiring};

const NOBODY: u32 = 65_534;
const SOON: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    if Uid::effective().is_root() {
        let status = Command::new("/proc/self/exe")
            .uid(NOBODY)
            .gid(NOBODY)
            .status()?;
        assert!(status.success(), "as an ordinary user: {status}");
        return Ok(());
    }
    assert!(!may_wire());
    if let Err(error) = enter_user_namespace() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "with CI=true, this test must run: {error}"
        );
        println!("skipped: {error}");
        return Ok(());
    }
    let mut wiring = Wiring::poc(Options::default())?;
    wiring.add_kernel_pod(&[VLAN], SERVER_ADDRESS)?;
    let client = wiring.client();
    println!(
        "the client is on {}",
        client.vlan().map(VlanClient::describe).unwrap_or_default()
    );
    for size in [PING_SIZE, 8000] {
        ping(client.namespace(), SERVER_ADDRESS.0, 3, size, SOON)?;
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo ready: yes; exec sleep 60"]);
    let mut server = Server::start(wiring.pod(), command, Rights::NetRawOnly { id: 10_000 })?;
    server.wait_until_ready(SOON)?;
    let capabilities = server.capabilities()?;
    assert!(
        capabilities.contains(&"CapEff: 0000000000002000".to_owned()),
        "{capabilities:?}"
    );
    println!("an ordinary user can build the wiring: ok");
    Ok(())
}

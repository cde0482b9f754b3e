//! A configuration as commands.

use std::fmt::Write as _;

use crate::config::{
    Config, HostInterface, HttpServer, InterfaceRef, Match, RingOptions, RingVersion,
};
use crate::words::Word;

impl Config {
    /// The commands that make this configuration: an empty one with the same `cli_listen`,
    /// `capture_dir`, `spare_interfaces`, `connections_max`, `tcp_memory`, `metrics_listen`,
    /// `access_log` and `log`, for which the language has no commands, becomes equal to it by
    /// [`edit`](super::edit). A path that is not UTF-8 is printed with replacement characters.
    pub fn to_startup_conf(&self) -> String {
        let mut lines = Lines::default();
        for host in &self.interfaces {
            lines.push(&create_host_interface(host));
            lines.interface(InterfaceRef::Host(host), host.up, host.mtu);
            for sub in &host.sub_interfaces {
                let mut line = format!("create sub-interfaces {} {}", host.full_name(), sub.id);
                let implied = u16::try_from(sub.id).map(Match::dot1q_exact);
                if implied != Ok(sub.matching) {
                    let _ = write!(line, " {}", sub.matching);
                }
                lines.push(&line);
                lines.interface(InterfaceRef::Sub(host, sub), sub.up, sub.mtu);
            }
        }
        for route in &self.routes {
            let mut line = format!("ip route add {} via {}", route.prefix, route.via);
            if let Some(interface) = &route.interface {
                let _ = write!(line, " {}", Word::quote(interface));
            }
            lines.push(&line);
        }
        for neighbor in &self.neighbors {
            let (interface, address) = (Word::quote(&neighbor.interface), neighbor.address);
            lines.push(&format!(
                "set ip neighbor {interface} {address} {} static",
                neighbor.mac
            ));
        }
        for (at, server) in self.http.iter().enumerate() {
            let command = if at == 0 { "server" } else { "listener add" };
            lines.push(&format!("http static {command} {}", http_keywords(server)));
        }
        lines.text
    }
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    fn interface(&mut self, interface: InterfaceRef<'_>, up: bool, mtu: Option<u16>) {
        let name = interface.name();
        if up {
            self.push(&format!("set interface state {name} up"));
        }
        if let Some(mtu) = mtu {
            self.push(&format!("set interface mtu packet {mtu} {name}"));
        }
        for address in interface.addresses() {
            self.push(&format!("set interface ip address {name} {address}"));
        }
    }
}

fn create_host_interface(host: &HostInterface) -> String {
    let RingOptions {
        version,
        block_size,
        blocks,
        tx_slots,
    } = host.ring;
    let mut line = "create host-interface".to_owned();
    match version {
        Some(RingVersion::V2) => line += " v2",
        Some(RingVersion::V3) => line += " v3",
        None => {}
    }
    let _ = write!(line, " name {}", Word::quote(&host.name));
    if let Some(mac) = host.hw_addr {
        let _ = write!(line, " hw-addr {mac}");
    }
    if host.workers != 1 {
        let _ = write!(line, " num-rx-queues {}", host.workers);
    }
    if let Some(size) = block_size {
        let _ = write!(line, " rx-block-size {size}");
    }
    if let Some(blocks) = blocks {
        let _ = write!(line, " rx-blocks {blocks}");
    }
    if let Some(slots) = tx_slots {
        let _ = write!(line, " tx-slots {slots}");
    }
    line
}

fn http_keywords(server: &HttpServer) -> String {
    let HttpServer {
        www_root,
        address,
        port,
        cache_size,
        max_age,
        keepalive_timeout,
        max_req_body_size,
    } = server;
    let www_root = www_root.to_string_lossy();
    format!(
        "www-root {} uri tcp://{address}/{port} cache-size {cache_size} max-age {} \
         keepalive-timeout {} max-req-body-size {max_req_body_size}",
        Word::quote(&www_root),
        max_age.0,
        keepalive_timeout.0,
    )
}

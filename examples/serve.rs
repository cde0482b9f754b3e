//! Embeds the whole runtime: a VLAN, an address, and a folder served over HTTP.
//!
//! `serve INTERFACE VLAN ADDRESS/PREFIX FOLDER`, as root or with CAP_NET_RAW; ends on Enter.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::time::Duration;

use runtime::config::{HostInterface, HttpServer, SubInterface};
use runtime::{Config, Event, Prepared, privileges};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, vlan, address, folder] = arguments.as_slice() else {
        return Err("usage: serve INTERFACE VLAN ADDRESS/PREFIX FOLDER".into());
    };
    let mut sub = SubInterface::dot1q(vlan.parse()?);
    sub.addresses.push(address.parse()?);
    let mut port = HostInterface::new(interface);
    port.sub_interfaces.push(sub);
    let http = vec![HttpServer::new(folder)];
    let config = Config {
        interfaces: vec![port],
        http,
        ..Config::default()
    };

    let prepared = Prepared::open(config)?; // the one moment that needs CAP_NET_RAW
    privileges::give_up()?;
    let runtime = prepared.start()?;
    for event in runtime.events() {
        match event {
            Event::Ready(endpoints) => {
                for endpoint in endpoints {
                    println!("serving {endpoint}; press Enter to end");
                }
                break;
            }
            Event::Died(why) => return Err(why.into()),
            other => println!("{other:?}"),
        }
    }
    std::io::stdin().read_line(&mut String::new())?;
    runtime.shutdown(Duration::from_secs(4));
    Ok(())
}

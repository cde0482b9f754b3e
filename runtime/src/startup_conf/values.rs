//! The kinds of values in commands.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use dataplane::MacAddr;

use crate::config::{ByteSize, Ipv4Prefix, Seconds, decimal, ipv4, name_problem, vlan_id};
use crate::words::Kind;

pub(super) const INTERFACE: Kind<String> = Kind {
    name: "<interface>",
    what: "an interface such as host-macvlan0",
    parse: |word| Ok(word.to_owned()),
};

pub(super) const HOST_NAME: Kind<String> = Kind {
    name: "<ifname>",
    what: "the name of an interface of the host such as macvlan0",
    parse: |word| match name_problem(word) {
        Some(why) => Err(format!("the name {why}")),
        None => Ok(word.to_owned()),
    },
};

pub(super) const MAC: Kind<MacAddr> = Kind {
    name: "<mac>",
    what: "an Ethernet address such as c6:b4:b5:74:11:88",
    parse: |word| {
        let mac: MacAddr = word
            .parse()
            .map_err(|_| "six hex octets are needed".to_owned())?;
        if mac.is_group() || mac == MacAddr::ZERO {
            return Err("no station can have this address".to_owned());
        }
        Ok(mac)
    },
};

pub(super) const PREFIX: Kind<Ipv4Prefix> = Kind {
    name: "<address>/<length>",
    what: "an address with its prefix length such as 192.168.123.150/24",
    parse: str::parse,
};

pub(super) const ADDRESS: Kind<Ipv4Addr> = Kind {
    name: "<address>",
    what: "an address such as 192.168.123.1",
    parse: ipv4,
};

pub(super) const NEXT_HOP: Kind<Ipv4Addr> = Kind {
    name: "<next-hop>",
    what: "a next hop such as 192.168.123.1",
    parse: ipv4,
};

pub(super) const MTU: Kind<u16> = Kind {
    name: "<mtu>",
    what: "an MTU in octets such as 1500",
    parse: number::<u16>,
};

pub(super) const COUNT: Kind<u32> = Kind {
    name: "<n>",
    what: "a number",
    parse: number::<u32>,
};

pub(super) const SIZE: Kind<ByteSize> = Kind {
    name: "<size>",
    what: "a size such as 512m",
    parse: str::parse,
};

pub(super) const TIME: Kind<Seconds> = Kind {
    name: "<time>",
    what: "a time in seconds such as 60",
    parse: str::parse,
};

pub(super) const ANY: Kind<String> = Kind {
    name: "<value>",
    what: "a value",
    parse: |word| Ok(word.to_owned()),
};

pub(super) const WWW_ROOT: Kind<String> = Kind {
    name: "<path>",
    what: "the path of a folder such as /www",
    parse: |word| match word {
        "" => Err("the path is empty".to_owned()),
        path => Ok(path.to_owned()),
    },
};

pub(super) const IDS: Kind<RangeInclusive<u32>> = Kind {
    name: "<id>",
    what: "a number such as 123, or a range such as 10-20",
    parse: |word| match word.split_once('-') {
        None => number(word).map(|id| id..=id),
        Some((first, last)) => {
            let (first, last) = (vlan_id(first)?, vlan_id(last)?);
            if first > last {
                return Err("the range ends before it begins".to_owned());
            }
            Ok(u32::from(first)..=u32::from(last))
        }
    },
};

pub(super) const URI: Kind<(Ipv4Addr, u16)> = Kind {
    name: "tcp://<address>/<port>",
    what: "where to listen, such as tcp://0.0.0.0/80",
    parse: uri,
};

fn number<T: TryFrom<u64>>(word: &str) -> Result<T, String> {
    decimal(word)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            format!(
                "not a number from 0 to {}",
                u64::MAX >> (64 - 8 * size_of::<T>())
            )
        })
}

/// `tcp://ADDRESS/PORT`, `tcp://ADDRESS:PORT`, `http://ADDRESS[:PORT]`.
fn uri(word: &str) -> Result<(Ipv4Addr, u16), String> {
    let (scheme, rest) = word
        .split_once("://")
        .ok_or("it begins with tcp:// or http://")?;
    if !matches!(scheme, "tcp" | "http") {
        return Err(format!("{scheme} is not offered; use tcp:// or http://"));
    }
    let (address, port) = match rest.trim_end_matches('/').split_once([':', '/']) {
        Some((address, port)) => (address, port),
        None if scheme == "http" => (rest.trim_end_matches('/'), "80"),
        None => return Err("the port is missing, as in tcp://0.0.0.0/80".to_owned()),
    };
    match number::<u16>(port) {
        Ok(0) => Err("port 0 cannot be; use 1 to 65535".to_owned()),
        Ok(port) => Ok((ipv4(address)?, port)),
        Err(_) => Err("a port is a number from 1 to 65535".to_owned()),
    }
}

pub(super) const QUEUES: Kind<u16> = Kind {
    name: "<n>",
    what: "a number of workers such as 1",
    parse: number::<u16>,
};

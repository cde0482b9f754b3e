//! Turns a device's transmit checksum offload off, and with it segmentation offload, so that
//! frames leave it complete and no longer than the MTU.
//!
//! A relay in userspace needs that: a raw socket is handed the kernel's unfinished frames.
//! Spec: Linux `Documentation/networking/ethtool-netlink.rst`, `FEATURES_SET`.

use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

use crate::error::{Step as _, WiringError};
use crate::netns::Netns;

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;

/// Netlink and generic netlink headers.
const HEADERS_LEN: usize = 16 + 4;
const NLMSG_ERROR: u16 = 2;

/// Makes `device` in `namespace` send only finished frames.
///
/// # Errors
/// The kernel has no ethtool netlink (before Linux 5.6), or does not know the device.
pub fn disable(namespace: &Netns, device: &str) -> Result<(), WiringError> {
    let work = || -> io::Result<()> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let name = vec![text(CTRL_ATTR_FAMILY_NAME, "ethtool")];
        let answer = exchange(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
        let family = family_id(&answer).ok_or(io::ErrorKind::Unsupported)?;
        // A bit that is listed without a value is to be cleared.
        let bit = vec![text(ETHTOOL_A_BITSET_BIT_NAME, "tx-checksum-ip-generic")];
        let bits = vec![nest(ETHTOOL_A_BITSET_BITS_BIT, &bit)];
        let request = [
            nest(
                ETHTOOL_A_FEATURES_HEADER,
                &[text(ETHTOOL_A_HEADER_DEV_NAME, device)],
            ),
            nest(
                ETHTOOL_A_FEATURES_WANTED,
                &[nest(ETHTOOL_A_BITSET_BITS, &bits)],
            ),
        ];
        exchange(&socket, family, ETHTOOL_MSG_FEATURES_SET, &request).map(drop)
    };
    namespace
        .run(work)
        .and_then(|done| done)
        .step(|| format!("turning offloads off on {device}"))
}

fn text(kind: u16, text: &str) -> DefaultNla {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    DefaultNla::new(kind, value)
}

fn nest(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

fn request(family: u16, command: u8, attributes: &[DefaultNla]) -> Vec<u8> {
    let length = HEADERS_LEN + attributes.buffer_len();
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence number and port: one request at a time
    message.extend_from_slice(&[command, 1, 0, 0]);
    let mut tail = vec![0; length - HEADERS_LEN];
    attributes.emit(&mut tail);
    message.extend_from_slice(&tail);
    message
}

/// Sends a request; returns what was answered before the acknowledgement.
fn exchange(
    socket: &Socket,
    family: u16,
    command: u8,
    attributes: &[DefaultNla],
) -> io::Result<Vec<u8>> {
    socket.send(&request(family, command, attributes), 0)?;
    let mut answer = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let kind = datagram.get(4..6).and_then(|octets| octets.try_into().ok());
        if kind.map(u16::from_ne_bytes) != Some(NLMSG_ERROR) {
            answer = datagram;
            continue;
        }
        let code = datagram
            .get(16..20)
            .and_then(|octets| octets.try_into().ok());
        return match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(answer),
            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        };
    }
}

fn family_id(answer: &[u8]) -> Option<u16> {
    NlasIterator::new(answer.get(HEADERS_LEN..)?)
        .filter_map(Result::ok)
        .find(|attribute: &NlaBuffer<_>| attribute.kind() == CTRL_ATTR_FAMILY_ID)
        .and_then(|attribute| attribute.value().try_into().ok().map(u16::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_netlink_header_a_generic_header_and_padded_attributes() {
        assert_eq!(
            request(
                GENL_ID_CTRL,
                CTRL_CMD_GETFAMILY,
                &[text(CTRL_ATTR_FAMILY_NAME, "ab")]
            ),
            [
                &28u32.to_ne_bytes()[..],
                &16u16.to_ne_bytes(),
                &5u16.to_ne_bytes(),
                &[0; 8],
                &[3, 1, 0, 0],
                &7u16.to_ne_bytes(),
                &2u16.to_ne_bytes(),
                b"ab\0\0",
            ]
            .concat()
        );
    }
}

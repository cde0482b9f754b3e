//! A TCP peer made by hand: it sends exactly what it is told to, and hears everything.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Attacker;
use super::packets::{ACK, ARP, IP4, PSH, SYN, Tcp, arp};
use crate::link::Mac;

/// A segment that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The Ethernet address it went to.
    pub mac: Mac,
    /// The address it went to.
    pub address: Ipv4Addr,
    /// Its header.
    pub tcp: Tcp,
    /// Octets of data.
    pub data: u32,
}

impl Heard {
    /// The sequence number that follows it.
    pub fn end(&self) -> u32 {
        let phantom = u32::from(self.tcp.flags & SYN != 0) + u32::from(self.tcp.flags & 1 != 0);
        self.tcp.seq.wrapping_add(self.data).wrapping_add(phantom)
    }
}

/// Reads a TCP segment from an untagged frame.
pub fn read(frame: &[u8]) -> Option<Heard> {
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    if word(12)? != IP4 || *frame.get(23)? != super::packets::TCP {
        return None;
    }
    let segment = 14 + usize::from(*frame.get(14)? & 0x0f) * 4;
    let header = usize::from(*frame.get(segment + 12)? >> 4) * 4;
    // A super-segment says 0.
    let length = match usize::from(word(16)?) {
        0 => frame.len() - 14,
        length => length,
    };
    Some(Heard {
        mac: *frame.first_chunk()?,
        address: Ipv4Addr::from(long(30)?),
        tcp: Tcp {
            from: word(segment)?,
            to: word(segment + 2)?,
            seq: long(segment + 4)?,
            ack: long(segment + 8)?,
            flags: *frame.get(segment + 13)?,
            window: word(segment + 14)?,
        },
        data: u32::try_from((14 + length).checked_sub(segment + header)?).ok()?,
    })
}

/// A host of its own on the wire, without a kernel.
#[derive(Debug)]
pub struct Peer {
    attacker: Attacker,
    address: Ipv4Addr,
}

/// One connection of a [`Peer`]: what it would send next, and expects next.
#[derive(Debug, Clone, Copy)]
pub struct Handmade {
    /// Our port.
    pub port: u16,
    /// SND.NXT.
    pub snd_nxt: u32,
    /// RCV.NXT.
    pub rcv_nxt: u32,
}

impl Peer {
    /// Makes itself known to the server.
    ///
    /// # Errors
    /// The wire is down, or the server does not answer ARP within `patience`.
    pub fn new(attacker: Attacker, address: Ipv4Addr, patience: Duration) -> io::Result<Self> {
        let peer = Self { attacker, address };
        let own = (peer.attacker.mac(), address);
        let asked = arp(1, own, ([0; 6], peer.attacker.server()));
        peer.attacker.broadcast(ARP, &asked)?;
        let answered =
            |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame.get(21) == Some(&2);
        peer.hear_frame(patience, |frame| answered(frame).then_some(()))?;
        Ok(peer)
    }

    /// Sends a segment.
    ///
    /// # Errors
    /// The wire is down.
    pub fn send(&self, tcp: &Tcp, data: &[u8]) -> io::Result<()> {
        let packet = tcp.packet(self.address, self.attacker.server(), data);
        self.attacker.send(IP4, &packet)
    }

    /// The next segment to `port` that `wanted` accepts. Answers ARP meanwhile.
    ///
    /// # Errors
    /// None came within `patience`.
    pub fn hear(
        &self,
        port: u16,
        patience: Duration,
        mut wanted: impl FnMut(&Heard) -> bool,
    ) -> io::Result<Heard> {
        self.hear_frame(patience, |frame| {
            read(frame).filter(|heard| {
                heard.address == self.address && heard.tcp.to == port && wanted(heard)
            })
        })
    }

    fn hear_frame<T>(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let start = Instant::now();
        loop {
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                let what = format!("nothing of the kind was heard within {patience:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            let Some(frame) = self.attacker.socket().wait(left)? else {
                continue;
            };
            self.answer_arp(&frame)?;
            if let Some(found) = wanted(&frame) {
                return Ok(found);
            }
        }
    }

    fn answer_arp(&self, frame: &[u8]) -> io::Result<()> {
        let asks = frame.get(12..14) == Some(&[8, 6])
            && frame.get(21) == Some(&1)
            && frame.get(38..42) == Some(&self.address.octets());
        if asks {
            let own = (self.attacker.mac(), self.address);
            let answer = arp(2, own, (self.attacker.target(), self.attacker.server()));
            self.attacker.send(ARP, &answer)?;
        }
        Ok(())
    }

    /// Connects from `port` to port 80.
    ///
    /// # Errors
    /// No SYN-ACK came within `patience`.
    pub fn open(&self, port: u16, window: u16, patience: Duration) -> io::Result<Handmade> {
        let mut connection = Handmade {
            port,
            snd_nxt: 0x1000_0000 + u32::from(port),
            rcv_nxt: 0,
        };
        self.send(&connection.segment(SYN, window), b"")?;
        connection.snd_nxt += 1;
        let synack = self.hear(port, patience, |heard| {
            heard.tcp.flags & (SYN | ACK) == SYN | ACK && heard.tcp.ack == connection.snd_nxt
        })?;
        connection.rcv_nxt = synack.end();
        self.send(&connection.segment(ACK, window), b"")?;
        Ok(connection)
    }

    /// Sends data on a connection.
    ///
    /// # Errors
    /// The wire is down.
    pub fn say(&self, connection: &mut Handmade, window: u16, data: &[u8]) -> io::Result<()> {
        self.send(&connection.segment(PSH | ACK, window), data)?;
        connection.snd_nxt += u32::try_from(data.len()).unwrap_or(0);
        Ok(())
    }

    /// What frames are sent with.
    pub fn attacker(&self) -> &Attacker {
        &self.attacker
    }
}

impl Handmade {
    /// The next segment of the connection.
    pub fn segment(&self, flags: u8, window: u16) -> Tcp {
        Tcp {
            from: self.port,
            to: 80,
            seq: self.snd_nxt,
            ack: if flags & ACK == 0 { 0 } else { self.rcv_nxt },
            flags,
            window,
        }
    }
}

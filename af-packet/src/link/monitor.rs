//! Watching interfaces by name: appearing, changing, going away.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;

use super::{ANSWER_MAX, LinkInfo, check_name, connect, get, receive};
use crate::error::LinkError;

/// Names a monitor watches at most; more are refused.
pub const WATCHED_MAX: usize = 256;

/// Datagrams one call of [`LinkMonitor::events`] reads at most; the rest stays readable.
const READS_MAX: usize = 256;

/// `RTMGRP_LINK`.
const GROUP_LINK: u32 = 1;

/// What became of a watched name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// The watched name.
    pub name: String,
    /// The interface it stands for now, or nothing. An index that differs from the one before
    /// means that it was deleted and created again: attach anew.
    pub link: Option<LinkInfo>,
}

/// Watches interfaces by name, through a descriptor that can be polled.
///
/// It remembers the state of each watched name and reports where it ended up differing, so what
/// it stores and reports is bounded by [`WATCHED_MAX`] however busy the host is. When the kernel
/// had to drop messages, every watched name is asked for again.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: Socket,
    buffer: Vec<u8>,
    watched: BTreeMap<String, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    reported: Option<LinkInfo>,
    now: Option<LinkInfo>,
}

impl LinkMonitor {
    /// A monitor that watches nothing yet.
    ///
    /// # Errors
    /// Netlink's failure.
    pub fn new() -> Result<Self, LinkError> {
        Ok(Self {
            socket: connect(GROUP_LINK)?,
            buffer: vec![0; ANSWER_MAX],
            watched: BTreeMap::new(),
        })
    }

    /// Watches `name` from now on, and says what it stands for now. Watching it already is no
    /// error.
    ///
    /// # Errors
    /// A name that cannot be one; [`WATCHED_MAX`] names watched already; netlink's failure.
    pub fn watch(&mut self, name: &str) -> Result<Option<LinkInfo>, LinkError> {
        check_name(name)?;
        if self.watched.len() >= WATCHED_MAX && !self.watched.contains_key(name) {
            return Err(LinkError::Netlink {
                step: "watching one more interface",
                source: io::ErrorKind::QuotaExceeded.into(),
            });
        }
        let now = look(name)?;
        let watched = Watched {
            reported: now.clone(),
            now: now.clone(),
        };
        self.watched.insert(name.to_owned(), watched);
        Ok(now)
    }

    /// Watches `name` no more.
    pub fn unwatch(&mut self, name: &str) {
        self.watched.remove(name);
    }

    /// Readable when [`Self::events`] has something to read. Other interfaces make it readable,
    /// too.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The watched names whose link is not what was reported last, at most one event each. Does
    /// not wait.
    ///
    /// # Errors
    /// Netlink's failure.
    pub fn events(&mut self) -> Result<Vec<LinkEvent>, LinkError> {
        let watched = &mut self.watched;
        for _ in 0..READS_MAX {
            let read = receive(&self.socket, &mut self.buffer, |payload| {
                if let NetlinkPayload::InnerMessage(message) = payload {
                    apply(watched, &message);
                }
            });
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    for (name, state) in &mut *watched {
                        state.now = look(name)?;
                    }
                }
                Err(source) => {
                    return Err(LinkError::Netlink {
                        step: "reading link events",
                        source,
                    });
                }
            }
        }
        let changed = watched.iter_mut().filter(|(_, w)| w.reported != w.now);
        Ok(changed
            .map(|(name, watched)| {
                watched.reported.clone_from(&watched.now);
                LinkEvent {
                    name: name.clone(),
                    link: watched.now.clone(),
                }
            })
            .collect())
    }
}

/// The link called `name`, asked for over a socket of its own so that no event is taken for the
/// answer.
fn look(name: &str) -> Result<Option<LinkInfo>, LinkError> {
    match get(&mut connect(0)?, name) {
        Ok(link) => Ok(Some(link)),
        Err(LinkError::NoSuchInterface { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn apply(watched: &mut BTreeMap<String, Watched>, message: &RouteNetlinkMessage) {
    let (link, exists) = match message {
        RouteNetlinkMessage::NewLink(link) => (link, true),
        RouteNetlinkMessage::DelLink(link) => (link, false),
        _ => return,
    };
    let Some(link) = LinkInfo::of(link) else {
        return;
    };
    for (name, state) in watched {
        if exists && *name == link.name {
            state.now = Some(link.clone());
        } else if state
            .now
            .as_ref()
            .is_some_and(|now| now.index == link.index)
        {
            // Deleted, or renamed.
            state.now = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn link(index: u32, name: &str) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link
    }

    fn after(messages: &[RouteNetlinkMessage]) -> Option<u32> {
        let mut watched = BTreeMap::from([("eth0".to_owned(), Watched::default())]);
        for message in messages {
            apply(&mut watched, message);
        }
        watched["eth0"].now.as_ref().map(|link| link.index)
    }

    #[test]
    fn a_deleted_link_is_gone_and_a_new_one_of_its_name_is_it() {
        let made = RouteNetlinkMessage::NewLink(link(4, "eth0"));
        let deleted = RouteNetlinkMessage::DelLink(link(4, "eth0"));
        let again = RouteNetlinkMessage::NewLink(link(7, "eth0"));
        assert_eq!(after(std::slice::from_ref(&made)), Some(4));
        assert_eq!(after(&[made.clone(), deleted.clone()]), None);
        assert_eq!(after(&[made, deleted, again]), Some(7));
    }

    #[test]
    fn a_renamed_link_is_gone() {
        let made = RouteNetlinkMessage::NewLink(link(4, "eth0"));
        let renamed = RouteNetlinkMessage::NewLink(link(4, "eth1"));
        assert_eq!(after(&[made, renamed]), None);
    }

    #[test]
    fn leaving_a_bridge_is_not_going_away() {
        let made = RouteNetlinkMessage::NewLink(link(4, "eth0"));
        let mut left = link(4, "eth0");
        left.header.interface_family = AddressFamily::Bridge;
        assert_eq!(after(&[made, RouteNetlinkMessage::DelLink(left)]), Some(4));
    }
}

//! The interfaces of one worker, by index: the port itself and its sub-interfaces.

use std::cell::RefCell;
use std::rc::Rc;

use crate::frame::MacAddr;

/// Interfaces a worker holds at most: the port, and one sub-interface for every VLAN of both tag
/// protocols. More are refused when they are configured.
pub const INTERFACES_MAX: usize = 8192;

/// An interface's number, VPP's `sw_if_index`: the same in every worker and in every table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfIndex(pub u16);

/// What nodes need to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name, for example `host-macvlan0.123`.
    pub name: String,
    /// The Ethernet address; sub-interfaces have the port's.
    pub mac: MacAddr,
    /// The largest IP packet, in octets.
    pub mtu: u16,
    /// Administratively up; an interface that is down neither takes nor sends.
    pub up: bool,
}

/// The table of interfaces.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    slots: Vec<Option<Interface>>,
}

/// The table as the nodes of one worker share it.
pub type SharedInterfaces = Rc<RefCell<Interfaces>>;

impl Interfaces {
    /// An empty table, ready to share.
    pub fn shared() -> SharedInterfaces {
        Rc::new(RefCell::new(Self::default()))
    }

    /// Puts `interface` at `index`, in place of what was there; `false`, and nothing changes, when
    /// the index is not below [`INTERFACES_MAX`].
    pub fn set(&mut self, index: IfIndex, interface: Interface) -> bool {
        let at = usize::from(index.0);
        if at >= INTERFACES_MAX {
            return false;
        }
        if at >= self.slots.len() {
            self.slots.resize(at + 1, None);
        }
        self.slots[at] = Some(interface);
        true
    }

    /// Takes the interface at `index` away.
    pub fn remove(&mut self, index: IfIndex) -> Option<Interface> {
        self.slots.get_mut(usize::from(index.0))?.take()
    }

    /// The interface at `index`.
    #[inline]
    pub fn get(&self, index: IfIndex) -> Option<&Interface> {
        self.slots.get(usize::from(index.0))?.as_ref()
    }

    /// The interface at `index`, to change.
    pub fn get_mut(&mut self, index: IfIndex) -> Option<&mut Interface> {
        self.slots.get_mut(usize::from(index.0))?.as_mut()
    }

    /// All interfaces, by index.
    pub fn iter(&self) -> impl Iterator<Item = (IfIndex, &Interface)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((IfIndex(u16::try_from(at).ok()?), slot.as_ref()?)))
    }
}

//! The table of sub-interfaces, shared by `dot1q-demux` and `dot1q-push` and changed while they
//! run.
//!
//! A port has a direct table of 4,096 places for each tag protocol, made when its first
//! sub-interface is, and a map of `QinQ` pairs. A frame belongs to the first of these that exists:
//!
//! | tags, priority tags left out | first | then | then | last |
//! |---|---|---|---|---|
//! | outer, inner | exact pair | outer, inner any | outer, not exact | `default` |
//! | one | that tag | | | `default` |
//! | none | `untagged` | the port, if it takes untagged frames | | `default` |
//!
//! A tag with VID 0 carries a priority and no VLAN, so it counts as absent wherever it stands: a
//! priority tag over a real tag is peeled off and the real tag decides, as Linux does (VPP gives
//! such frames to the port).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use dataplane::interface::INTERFACES_MAX;
use dataplane::{EtherType, IfIndex, Tag, Tags};

use crate::tag::{Match, OuterTag, Tpid};

/// Ports a table holds at most; more are refused.
pub const PORTS_MAX: usize = 64;

/// The table as the nodes of one worker share it.
pub type SharedSubInterfaces = Rc<RefCell<SubInterfaces>>;

/// A change to the table that was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubInterfaceError {
    /// The port was not added.
    UnknownPort,
    /// The port was added before, or is a sub-interface.
    PortExists,
    /// Another sub-interface of the port has this match.
    MatchExists {
        /// What was asked for.
        wanted: Match,
        /// Who has it.
        holder: IfIndex,
    },
    /// The interface is a port or a sub-interface already.
    InterfaceExists,
    /// More than [`PORTS_MAX`] ports.
    TooManyPorts,
    /// The interface's index is not below `INTERFACES_MAX`.
    TooManyInterfaces,
}

impl fmt::Display for SubInterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPort => f.write_str("the port does not exist; create it first"),
            Self::PortExists => f.write_str("the port exists already"),
            Self::MatchExists { wanted, holder } => write!(
                f,
                "`{wanted}` is taken by sub-interface number {}; delete that first",
                holder.0
            ),
            Self::InterfaceExists => f.write_str("the sub-interface exists already"),
            Self::TooManyPorts => write!(f, "more than {PORTS_MAX} ports"),
            Self::TooManyInterfaces => write!(f, "more than {INTERFACES_MAX} interfaces"),
        }
    }
}

impl std::error::Error for SubInterfaceError {}

/// Why a frame belongs to no sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// No sub-interface has the outer tag.
    UnknownVid,
    /// Some sub-interface has the outer tag, none the pair.
    UnknownQinq,
    /// No tag, and nobody takes untagged frames.
    Untagged,
}

/// How frames of an interface leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encapsulation {
    /// The port they leave by.
    pub port: IfIndex,
    /// The tags they carry; `None` when the match leaves them open.
    pub tags: Option<Tags>,
}

/// What one outer tag leads to.
#[derive(Clone, Copy, Debug, Default)]
struct Vlan {
    exact: Option<IfIndex>,
    loose: Option<IfIndex>,
    inner_any: Option<IfIndex>,
    /// How many `QinQ` pairs have this outer tag.
    pairs: u16,
}

impl Vlan {
    fn is_empty(self) -> bool {
        self.exact.is_none() && self.loose.is_none() && self.inner_any.is_none() && self.pairs == 0
    }
}

#[derive(Debug, Default)]
struct PortTable {
    takes_untagged: bool,
    untagged: Option<IfIndex>,
    default: Option<IfIndex>,
    /// 4,096 places each, or none.
    dot1q: Box<[Vlan]>,
    dot1ad: Box<[Vlan]>,
    pairs: HashMap<(OuterTag, u16), IfIndex>,
}

/// Places of a direct table: one for each value of the 12-bit field.
const VIDS: usize = 4096;

impl PortTable {
    fn vlan(&self, tag: Tag) -> Vlan {
        let table = match Tpid::of(tag) {
            Some(Tpid::Dot1q) => &self.dot1q,
            Some(Tpid::Dot1ad) => &self.dot1ad,
            None => return Vlan::default(),
        };
        table
            .get(usize::from(tag.vid()))
            .copied()
            .unwrap_or_default()
    }

    fn vlan_mut(&mut self, outer: OuterTag) -> &mut Vlan {
        let table = match outer.tpid {
            Tpid::Dot1q => &mut self.dot1q,
            Tpid::Dot1ad => &mut self.dot1ad,
        };
        if table.is_empty() {
            *table = vec![Vlan::default(); VIDS].into_boxed_slice();
        }
        &mut table[usize::from(outer.vid.get())]
    }

    /// The place `wanted` fills, but for `QinQ` pairs.
    fn place(&mut self, wanted: Match) -> Option<&mut Option<IfIndex>> {
        Some(match wanted {
            Match::Untagged => &mut self.untagged,
            Match::Default => &mut self.default,
            Match::Single { outer, exact: true } => &mut self.vlan_mut(outer).exact,
            Match::Single { outer, .. } => &mut self.vlan_mut(outer).loose,
            Match::InnerAny { outer } => &mut self.vlan_mut(outer).inner_any,
            Match::Double { .. } => return None,
        })
    }

    /// Who has `wanted`, or has it in part: a tag is either exact or not.
    fn holder(&self, wanted: Match) -> Option<IfIndex> {
        let vlan = |outer: OuterTag| {
            self.vlan(Tag {
                tpid: outer.tpid.ether_type(),
                tci: outer.vid.get(),
            })
        };
        match wanted {
            Match::Untagged => self.untagged,
            Match::Default => self.default,
            Match::Single { outer, .. } => vlan(outer).exact.or_else(|| vlan(outer).loose),
            Match::InnerAny { outer } => vlan(outer).inner_any,
            Match::Double { outer, inner } => self.pairs.get(&(outer, inner.get())).copied(),
        }
    }

    #[inline]
    fn find(&self, port: IfIndex, tags: Tags) -> Result<IfIndex, NoMatch> {
        let mut real = tags.as_slice().iter().filter(|tag| tag.vid() != 0);
        let (found, otherwise) = match (real.next(), real.next()) {
            (None, _) => {
                let own = self.takes_untagged.then_some(port);
                (self.untagged.or(own), NoMatch::Untagged)
            }
            (Some(outer), None) => {
                let vlan = self.vlan(*outer);
                (vlan.exact.or(vlan.loose), NoMatch::UnknownVid)
            }
            (Some(outer), Some(inner)) => {
                let vlan = self.vlan(*outer);
                let inner_is_ours = inner.tpid == EtherType::CTAG;
                let found = (vlan.pairs > 0 && inner_is_ours)
                    .then(|| self.pair(*outer, *inner))
                    .flatten()
                    .or_else(|| vlan.inner_any.filter(|_| inner_is_ours))
                    .or(vlan.loose);
                let otherwise = if vlan.is_empty() {
                    NoMatch::UnknownVid
                } else {
                    NoMatch::UnknownQinq
                };
                (found, otherwise)
            }
        };
        found.or(self.default).ok_or(otherwise)
    }

    fn pair(&self, outer: Tag, inner: Tag) -> Option<IfIndex> {
        let tpid = Tpid::of(outer)?;
        let vid = crate::VlanId::new(outer.vid()).ok()?;
        let key = (OuterTag { tpid, vid }, inner.vid());
        self.pairs.get(&key).copied()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    port: IfIndex,
    /// `None` for the port itself.
    matches: Option<Match>,
}

/// The table of sub-interfaces.
#[derive(Debug, Default)]
pub struct SubInterfaces {
    /// At most [`PORTS_MAX`].
    ports: Vec<(IfIndex, PortTable)>,
    /// By interface index, at most `INTERFACES_MAX`.
    entries: Vec<Option<Entry>>,
}

impl SubInterfaces {
    /// An empty table, ready to share.
    pub fn shared() -> SharedSubInterfaces {
        Rc::new(RefCell::new(Self::default()))
    }

    fn table(&self, port: IfIndex) -> Option<&PortTable> {
        let found = self.ports.iter().find(|(index, _)| *index == port)?;
        Some(&found.1)
    }

    fn table_mut(&mut self, port: IfIndex) -> Option<&mut PortTable> {
        let found = self.ports.iter_mut().find(|(index, _)| *index == port)?;
        Some(&mut found.1)
    }

    fn entry(&self, interface: IfIndex) -> Option<Entry> {
        *self.entries.get(usize::from(interface.0))?
    }

    fn set_entry(&mut self, interface: IfIndex, entry: Option<Entry>) {
        let at = usize::from(interface.0);
        if at >= self.entries.len() {
            self.entries.resize(at + 1, None);
        }
        self.entries[at] = entry;
    }

    /// Adds a port. It may send untagged frames itself; [`Self::take_untagged`] lets it receive
    /// them.
    ///
    /// # Errors
    /// The index is in use or too high, or there are [`PORTS_MAX`] ports.
    pub fn add_port(&mut self, port: IfIndex) -> Result<(), SubInterfaceError> {
        if self.entry(port).is_some() {
            return Err(SubInterfaceError::PortExists);
        }
        if self.ports.len() >= PORTS_MAX {
            return Err(SubInterfaceError::TooManyPorts);
        }
        if usize::from(port.0) >= INTERFACES_MAX {
            return Err(SubInterfaceError::TooManyInterfaces);
        }
        self.ports.push((port, PortTable::default()));
        let matches = None;
        self.set_entry(port, Some(Entry { port, matches }));
        Ok(())
    }

    /// Whether `port` itself receives untagged frames, as it must once it has an address of its
    /// own. An `untagged` sub-interface comes first.
    ///
    /// # Errors
    /// The port does not exist.
    pub fn take_untagged(&mut self, port: IfIndex, takes: bool) -> Result<(), SubInterfaceError> {
        let table = self.table_mut(port).ok_or(SubInterfaceError::UnknownPort)?;
        table.takes_untagged = takes;
        Ok(())
    }

    /// Makes `interface` a sub-interface of `port`.
    ///
    /// # Errors
    /// The port does not exist, the interface does, its index is too high, or another
    /// sub-interface takes the same frames.
    pub fn add(
        &mut self,
        port: IfIndex,
        interface: IfIndex,
        matches: Match,
    ) -> Result<(), SubInterfaceError> {
        if self.entry(interface).is_some() {
            return Err(SubInterfaceError::InterfaceExists);
        }
        if usize::from(interface.0) >= INTERFACES_MAX {
            return Err(SubInterfaceError::TooManyInterfaces);
        }
        let table = self.table_mut(port).ok_or(SubInterfaceError::UnknownPort)?;
        if let Some(holder) = table.holder(matches) {
            let wanted = matches;
            return Err(SubInterfaceError::MatchExists { wanted, holder });
        }
        if let Match::Double { outer, inner } = matches {
            table.pairs.insert((outer, inner.get()), interface);
            table.vlan_mut(outer).pairs += 1;
        } else if let Some(place) = table.place(matches) {
            *place = Some(interface);
        }
        let matches = Some(matches);
        self.set_entry(interface, Some(Entry { port, matches }));
        Ok(())
    }

    /// Takes sub-interface `interface` away and says what it matched; `None` when it is none.
    pub fn remove(&mut self, interface: IfIndex) -> Option<Match> {
        let entry = self.entry(interface)?;
        let matches = entry.matches?;
        let table = self.table_mut(entry.port)?;
        if let Match::Double { outer, inner } = matches {
            table.pairs.remove(&(outer, inner.get()));
            table.vlan_mut(outer).pairs -= 1;
        } else if let Some(place) = table.place(matches) {
            *place = None;
        }
        self.set_entry(interface, None);
        Some(matches)
    }

    /// Takes `port` and all its sub-interfaces away; `false` when there is no such port.
    pub fn remove_port(&mut self, port: IfIndex) -> bool {
        let before = self.ports.len();
        self.ports.retain(|(index, _)| *index != port);
        if self.ports.len() == before {
            return false;
        }
        for entry in &mut self.entries {
            entry.take_if(|entry| entry.port == port);
        }
        true
    }

    /// The interface a frame with `tags` belongs to that came in on `port`.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub fn find(&self, port: IfIndex, tags: Tags) -> Result<IfIndex, NoMatch> {
        let Some(table) = self.table(port) else {
            return Err(if tags.is_empty() {
                NoMatch::Untagged
            } else {
                NoMatch::UnknownVid
            });
        };
        table.find(port, tags)
    }

    /// How frames of `interface`, a port or a sub-interface, leave; `None` when it is neither.
    #[inline]
    pub fn encapsulation(&self, interface: IfIndex) -> Option<Encapsulation> {
        let entry = self.entry(interface)?;
        Some(Encapsulation {
            port: entry.port,
            tags: match entry.matches {
                None => Some(Tags::NONE),
                Some(matches) => matches.tags(),
            },
        })
    }

    /// All sub-interfaces, by index: their port and what they match.
    pub fn iter(&self) -> impl Iterator<Item = (IfIndex, IfIndex, Match)> + '_ {
        self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let entry = (*entry)?;
            Some((IfIndex(u16::try_from(at).ok()?), entry.port, entry.matches?))
        })
    }
}

#[cfg(test)]
mod tests;

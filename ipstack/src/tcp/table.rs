//! Which connection a segment belongs to: a hash table keyed so that nobody outside can make
//! entries collide.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::Hasher;
use std::net::SocketAddrV4;

use dataplane::IfIndex;

use super::hash_key::HashKey;

/// What tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) remote: SocketAddrV4,
    pub(crate) local: SocketAddrV4,
    pub(crate) interface: IfIndex,
}

impl Key {
    /// The hash under `key`.
    #[inline]
    pub(crate) fn hash(&self, key: &HashKey) -> u64 {
        let mut hasher = key.hasher();
        let addresses =
            u64::from(self.remote.ip().to_bits()) << 32 | u64::from(self.local.ip().to_bits());
        let rest = u64::from(self.remote.port()) << 32
            | u64::from(self.local.port()) << 16
            | u64::from(self.interface.0);
        hasher.write_u64(addresses);
        hasher.write_u64(rest);
        hasher.finish()
    }
}

/// What a key leads to: a number in one of three slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Flow(u32),
    HalfOpen(u32),
    TimeWait(u32),
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: Key,
    place: Place,
}

/// Connections, half-open connections and TIME-WAIT records by key.
#[derive(Debug)]
pub(crate) struct Table {
    rows: HashTable<Row>,
    hash_key: HashKey,
    /// Counts changes, so that a lookup made ahead of time can be known to be stale.
    version: u64,
}

impl Table {
    pub(crate) fn new(hash_key: HashKey) -> Self {
        Self {
            rows: HashTable::new(),
            hash_key,
            version: 0,
        }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &Key) -> u64 {
        key.hash(&self.hash_key)
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &Key) -> Option<Place> {
        self.rows
            .find(hash, |row| row.key == *key)
            .map(|row| row.place)
    }

    /// Leads `key` to `place`, in place of where it led.
    pub(crate) fn set(&mut self, key: Key, place: Place) {
        self.version += 1;
        let entry = self.rows.entry(
            key.hash(&self.hash_key),
            |row| row.key == key,
            |row| row.key.hash(&self.hash_key),
        );
        match entry {
            Entry::Occupied(mut row) => row.get_mut().place = place,
            Entry::Vacant(row) => {
                row.insert(Row { key, place });
            }
        }
    }

    /// Forgets `key`, if it leads to `place`.
    pub(crate) fn remove(&mut self, key: &Key, place: Place) {
        self.version += 1;
        let hash = self.hash(key);
        let found = self
            .rows
            .find_entry(hash, |row| row.key == *key && row.place == place);
        if let Ok(row) = found {
            row.remove();
        }
    }
}

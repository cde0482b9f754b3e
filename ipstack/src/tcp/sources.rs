//! Connections per source address.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::Hasher;
use std::net::Ipv4Addr;

use super::hash_key::HashKey;

/// Connections per source address. It has an entry per address with a connection, so the bound on
/// connections is its own.
#[derive(Debug)]
pub(crate) struct Sources {
    rows: HashTable<(Ipv4Addr, u32)>,
    hash_key: HashKey,
}

impl Sources {
    pub(crate) fn new(hash_key: HashKey) -> Self {
        Self {
            rows: HashTable::new(),
            hash_key,
        }
    }

    fn hash(address: Ipv4Addr, key: &HashKey) -> u64 {
        let mut hasher = key.hasher();
        hasher.write_u32(address.to_bits());
        hasher.finish()
    }

    pub(crate) fn count(&self, address: Ipv4Addr) -> usize {
        let row = self
            .rows
            .find(Self::hash(address, &self.hash_key), |row| row.0 == address);
        row.map_or(0, |row| row.1 as usize)
    }

    pub(crate) fn add(&mut self, address: Ipv4Addr) {
        let key = &self.hash_key;
        self.rows
            .entry(
                Self::hash(address, key),
                |row| row.0 == address,
                |row| Self::hash(row.0, key),
            )
            .or_insert((address, 0))
            .get_mut()
            .1 += 1;
    }

    pub(crate) fn remove(&mut self, address: Ipv4Addr) {
        let key = &self.hash_key;
        let entry = self.rows.entry(
            Self::hash(address, key),
            |row| row.0 == address,
            |row| Self::hash(row.0, key),
        );
        if let Entry::Occupied(mut row) = entry {
            row.get_mut().1 -= 1;
            if row.get().1 == 0 {
                row.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_key() -> HashKey {
        let [key] = HashKey::split(&[[1; 16]]);
        key
    }

    #[test]
    fn an_address_without_connections_takes_no_room() {
        let mut sources = Sources::new(hash_key());
        let address = Ipv4Addr::new(10, 0, 0, 1);
        sources.add(address);
        sources.add(address);
        assert_eq!(sources.count(address), 2);
        sources.remove(address);
        sources.remove(address);
        sources.remove(address);
        assert_eq!((sources.count(address), sources.rows.len()), (0, 0));
    }
}

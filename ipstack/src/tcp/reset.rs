//! Resets the connections of an address that is being taken away, so that their peers need not
//! find out by timeouts.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::IfIndex;

use super::core::Core;
use super::transmit::Out;

/// Connections reset in one turn: as many as a transmit ring has room for.
const RESETS_MAX: usize = 32;

impl Core {
    /// Has every connection of `address` on `interface` reset by [`Self::reset_doomed`].
    pub(super) fn doom(&mut self, interface: IfIndex, address: Ipv4Addr) {
        if !self.doomed.contains(&(interface, address)) {
            self.doomed.push((interface, address));
        }
    }

    /// Resets up to [`RESETS_MAX`] of the doomed connections; those half open and TIME-WAIT
    /// records are forgotten when no other is left.
    pub(super) fn reset_doomed(&mut self, now: Duration, out: &mut Out<'_, '_>) {
        let Some((interface, address)) = self.doomed.last().copied() else {
            return;
        };
        let is_doomed =
            |key: &super::table::Key| (key.interface, *key.local.ip()) == (interface, address);
        let flows = self.flows.iter();
        let doomed: Vec<u32> = flows
            .filter(|(_, flow)| flow.attached && is_doomed(&flow.conn.borrow().key))
            .map(|(index, _)| index)
            .take(RESETS_MAX)
            .collect();
        let more = doomed.len() == RESETS_MAX;
        for index in doomed {
            self.abort(index, ErrorKind::ConnectionAborted, now, out);
        }
        if more {
            return;
        }
        self.doomed.pop();
        let half_open = self.half_open.iter();
        let half_open: Vec<u32> = half_open
            .filter(|(_, record)| is_doomed(&record.key))
            .map(|(index, _)| index)
            .collect();
        for index in half_open {
            self.remove_half_open(index);
        }
        let time_waits = self.time_waits.iter();
        let time_waits: Vec<u32> = time_waits
            .filter(|(_, record)| is_doomed(&record.key))
            .map(|(index, _)| index)
            .collect();
        for index in time_waits {
            self.remove_time_wait(index);
        }
    }
}

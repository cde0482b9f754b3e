//! Initial sequence numbers nobody else can guess, and SYN cookies.
//!
//! - Spec: RFC 6528 (sequence numbers), RFC 4987, section 3.6 (cookies).

use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use super::hash_key::HashKey;
use super::segment::SynOptions;
use super::seq::Seq;
use super::table::Key;

/// How long a cookie counts: between one and two of these.
const COOKIE_PERIOD: Duration = Duration::from_secs(64);

/// MSS values a cookie can carry; the largest not above the peer's is taken.
const COOKIE_MSS: [u16; 4] = [536, 1220, 1400, 1460];

/// The code for "no window scaling" among four bits; 14 is the largest shift.
const COOKIE_NO_WSCALE: u8 = 15;

/// Secrets of one worker, drawn at start.
pub(crate) struct Secrets {
    isn: HashKey,
    cookie: HashKey,
}

impl Secrets {
    /// Each for its own purpose.
    pub(crate) fn new([isn, cookie]: [HashKey; 2]) -> Self {
        Self { isn, cookie }
    }

    /// RFC 6528: a clock of 4 us ticks plus a keyed hash of the connection.
    pub(crate) fn isn(&self, key: &Key, now: Duration) -> Seq {
        let clock = now.as_micros() / 4;
        Seq(low32(key.hash(&self.isn))
            .wrapping_add(low32(u64::try_from(clock & 0xffff_ffff).unwrap_or(0))))
    }

    /// A sequence number that says what a half-open record would: 25 bits of keyed hash, MSS 2,
    /// window scale 4, SACK 1. The time is in the hash only.
    pub(crate) fn cookie(&self, key: &Key, irs: Seq, options: SynOptions, now: Duration) -> Seq {
        let mss = options.mss.unwrap_or(COOKIE_MSS[0]);
        let mss = COOKIE_MSS.iter().rposition(|m| *m <= mss).unwrap_or(0);
        let wscale = options.wscale.unwrap_or(COOKIE_NO_WSCALE);
        let data = u32::try_from(mss).unwrap_or(0) << 5
            | u32::from(wscale & 0x0f) << 1
            | u32::from(options.sack_permitted);
        Seq(self.cookie_hash(key, irs, data, period(now)) | data)
    }

    /// What `isn` says, if it is a cookie we gave for this connection not long ago.
    pub(crate) fn read_cookie(
        &self,
        key: &Key,
        irs: Seq,
        isn: Seq,
        now: Duration,
    ) -> Option<SynOptions> {
        let data = isn.0 & 0x7f;
        let period = period(now);
        let ours = [period, period.wrapping_sub(1)]
            .into_iter()
            .any(|period| self.cookie_hash(key, irs, data, period) | data == isn.0);
        let wscale = u8::try_from(data >> 1 & 0x0f).unwrap_or(COOKIE_NO_WSCALE);
        ours.then(|| SynOptions {
            mss: COOKIE_MSS.get((data >> 5) as usize).copied(),
            wscale: (wscale != COOKIE_NO_WSCALE).then_some(wscale),
            sack_permitted: data & 1 != 0,
        })
    }

    fn cookie_hash(&self, key: &Key, irs: Seq, data: u32, period: u64) -> u32 {
        let mut hasher = self.cookie.hasher();
        hasher.write_u64(key.hash(&self.cookie));
        hasher.write_u64(u64::from(irs.0) << 32 | u64::from(data));
        hasher.write_u64(period);
        low32(hasher.finish()) & !0x7f
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

fn period(now: Duration) -> u64 {
    now.as_secs() / COOKIE_PERIOD.as_secs()
}

fn low32(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::IfIndex;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn key(port: u16) -> Key {
        Key {
            remote: SocketAddrV4::new(Ipv4Addr::new(192, 168, 123, 1), port),
            local: SocketAddrV4::new(Ipv4Addr::new(192, 168, 123, 150), 80),
            interface: IfIndex(1),
        }
    }

    #[test]
    fn numbers_differ_between_connections_and_grow_with_time() {
        let secrets = Secrets::new(HashKey::split(&[[1; 16], [2; 16]]));
        let at = Duration::from_secs(5);
        let first = secrets.isn(&key(1000), at);
        assert_ne!(first, secrets.isn(&key(1001), at));
        let later = secrets.isn(&key(1000), at + Duration::from_millis(1));
        assert_eq!(later.since(first), 250);
        let other = Secrets::new(HashKey::split(&[[7; 16], [2; 16]]));
        assert_ne!(first, other.isn(&key(1000), at));
    }

    #[test]
    fn a_cookie_says_what_the_syn_said_and_expires() {
        let secrets = Secrets::new(HashKey::split(&[[3; 16], [4; 16]]));
        let irs = Seq(0xfeed_0001);
        let now = Duration::from_secs(100);
        let options = SynOptions {
            mss: Some(1448),
            wscale: Some(7),
            sack_permitted: true,
        };
        let cookie = secrets.cookie(&key(9), irs, options, now);
        let read = |key: &Key, irs, isn, now| secrets.read_cookie(key, irs, isn, now);
        let expected = SynOptions {
            mss: Some(1400),
            ..options
        };
        assert_eq!(read(&key(9), irs, cookie, now), Some(expected));
        let later = now + COOKIE_PERIOD;
        assert_eq!(read(&key(9), irs, cookie, later), Some(expected));
        assert_eq!(read(&key(9), irs, cookie, later + COOKIE_PERIOD), None);
        assert_eq!(read(&key(8), irs, cookie, now), None);
        assert_eq!(read(&key(9), irs.add(1), cookie, now), None);
        assert_eq!(read(&key(9), irs, cookie.add(2), now), None);
        let bare = secrets.cookie(&key(9), irs, SynOptions::default(), now);
        let read_bare = read(&key(9), irs, bare, now).unwrap();
        assert_eq!((read_bare.mss, read_bare.wscale), (Some(536), None));
    }
}

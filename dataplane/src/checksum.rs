//! The Internet checksum: computing, updating, completing what was left to the hardware.
//!
//! - Spec: RFC 1071 (sum), RFC 1624 (update).

use std::net::Ipv4Addr;

use crate::frame::{Checksum, Frame};

/// A ones' complement sum under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Sum of native-endian 32-bit halves; RFC 1071 section 2 (B) allows any octet order as long
    /// as it is one. Cannot overflow: that takes 2^32 additions.
    halves: u64,
}

impl Sum {
    /// Nothing summed.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `octets` added. All pieces but the last must have an even number of octets.
    #[inline]
    #[must_use]
    pub fn with(mut self, octets: &[u8]) -> Self {
        let (words, rest) = octets.as_chunks::<8>();
        for word in words {
            let word = u64::from_ne_bytes(*word);
            self.halves += (word & 0xffff_ffff) + (word >> 32);
        }
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            self.halves += u64::from(u32::from_ne_bytes(*word));
        }
        // An IPv4 header has no rest.
        if !rest.is_empty() {
            let mut last = [0u8; 4];
            for (place, octet) in last.iter_mut().zip(rest) {
                *place = *octet;
            }
            self.halves += u64::from(u32::from_ne_bytes(last));
        }
        self
    }

    /// With the pseudo-header of TCP and UDP added: RFC 9293 section 3.1, RFC 768. `len` counts
    /// the octets of transport header and payload.
    #[inline]
    #[must_use]
    pub fn with_pseudo_header(
        self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        len: u16,
    ) -> Self {
        let [s0, s1, s2, s3] = source.octets();
        let [d0, d1, d2, d3] = destination.octets();
        let [l0, l1] = len.to_be_bytes();
        self.with(&[s0, s1, s2, s3, d0, d1, d2, d3])
            .with(&[0, protocol, l0, l1])
    }

    /// The sum, folded to 16 bits, not complemented: what a field whose completion is left to the
    /// hardware ([`Checksum::Partial`]) holds.
    #[inline]
    #[must_use]
    pub fn folded(self) -> u16 {
        let mut sum = self.halves;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be(u16::try_from(sum).unwrap_or(0))
    }

    /// The checksum: the complement of the sum. 0 after summing octets that include a right one.
    #[inline]
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.folded()
    }
}

/// The checksum of `octets`; 0 when they include a right one.
#[inline]
pub fn of(octets: &[u8]) -> u16 {
    Sum::new().with(octets).finish()
}

/// The checksum after a 16-bit field went from `old` to `new`: RFC 1624, equation 3.
#[inline]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(sum).unwrap_or(0)
}

/// Completes a checksum that was left to the hardware ([`Checksum::Partial`]), for ports that do
/// not: afterwards the frame's is complete. `false`, and nothing changes, when the field does not
/// lie in the frame, or what is to be summed in its [tail](Frame::tail).
#[must_use]
pub fn complete(frame: &mut Frame<'_>) -> bool {
    let Checksum::Partial { start, offset } = frame.meta.checksum else {
        return true;
    };
    if !frame.tail().is_empty() {
        return false;
    }
    let Some(at) = usize::from(start).checked_sub(frame.offset()) else {
        return false;
    };
    let Some(summed) = frame.octets_mut().get_mut(at..) else {
        return false;
    };
    let sum = of(summed);
    let field = usize::from(offset);
    let Some(field) = summed.get_mut(field..field + 2) else {
        return false;
    };
    // 0 would mean "none" in UDP (RFC 768) and is the same number as 0xffff in TCP.
    let sum = if sum == 0 { 0xffff } else { sum };
    field.copy_from_slice(&sum.to_be_bytes());
    frame.meta.checksum = Checksum::Unverified;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// RFC 1071 section 1, word by word.
    fn plain(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().with(&octets).folded(), 0xddf2);
    }

    #[test]
    fn a_field_outside_the_frame_is_left_alone() {
        for (start, offset) in [(3, 0), (9, 0), (4, 4), (4, 3), (u16::MAX, u16::MAX)] {
            let mut memory = [7u8; 8];
            let mut frame = Frame::new(&mut memory, 4, 4);
            frame.meta.checksum = Checksum::Partial { start, offset };
            assert!(!complete(&mut frame), "{start} {offset}");
            assert_eq!(frame.octets(), [7; 4]);
        }
    }

    #[test]
    fn a_sum_over_a_tail_is_not_made_of_the_front_alone() {
        let mut memory = [7u8; 8];
        let mut frame = Frame::new(&mut memory, 0, 8);
        let partial = Checksum::Partial {
            start: 0,
            offset: 2,
        };
        frame.meta.checksum = partial;
        frame.attach(vec![Bytes::from_static(b"tail")]);
        assert!(!complete(&mut frame));
        assert_eq!(
            (frame.octets(), frame.meta.checksum),
            (&[7; 8][..], partial)
        );
    }

    #[test]
    fn a_completed_checksum_is_never_zero() {
        let mut memory = [0xffu8; 40];
        memory[16..18].fill(0);
        let mut frame = Frame::new(&mut memory, 0, 40);
        frame.meta.checksum = Checksum::Partial {
            start: 0,
            offset: 16,
        };
        assert!(complete(&mut frame));
        assert_eq!(frame.octets()[16..18], [0xff, 0xff]);
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "takes minutes")]
        fn eight_octets_at_a_time_sum_like_two(
            octets in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..100,
        ) {
            prop_assert_eq!(of(&octets), plain(&octets));
            let cut = (cut * 2).min(octets.len() & !1);
            let (a, b) = octets.split_at(cut);
            prop_assert_eq!(Sum::new().with(a).with(b).finish(), plain(&octets));
        }

        #[test]
        #[cfg_attr(miri, ignore = "takes minutes")]
        fn an_update_equals_summing_again(mut octets in prop::collection::vec(any::<u8>(), 4..60),
                                          new in any::<u16>()) {
            octets[0] |= 1; // The sum of nothing but zeros has two representations.
            let before = of(&octets);
            let old = u16::from_be_bytes([octets[2], octets[3]]);
            octets[2..4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), of(&octets));
        }

        #[test]
        #[cfg_attr(miri, ignore = "takes minutes")]
        fn a_partial_checksum_completes_to_a_right_one(
            mut payload in prop::collection::vec(any::<u8>(), 8..100), push in 0usize..20,
        ) {
            let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
            let len = u16::try_from(payload.len()).unwrap();
            let pseudo = Sum::new().with_pseudo_header(source, destination, 6, len);
            payload[6..8].copy_from_slice(&pseudo.folded().to_be_bytes());
            let mut memory = vec![0xa5; 40];
            memory.extend(&payload);
            let mut frame = Frame::new(&mut memory, 40, payload.len());
            frame.meta.checksum = Checksum::Partial { start: 40, offset: 6 };
            prop_assert!(frame.push_front(push));
            prop_assert!(complete(&mut frame));
            prop_assert!(frame.advance(push));
            prop_assert_eq!(pseudo.with(frame.octets()).finish(), 0);
            prop_assert_eq!(frame.meta.checksum, Checksum::Unverified);
        }
    }
}

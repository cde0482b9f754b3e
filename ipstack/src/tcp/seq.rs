//! Sequence numbers: 32 bits that wrap (RFC 9293, section 3.4).

/// A sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seq(pub(crate) u32);

impl Seq {
    /// This number and `count` further on.
    #[inline]
    pub(crate) fn add(self, count: usize) -> Self {
        Self(self.0.wrapping_add(low32(count)))
    }

    /// This number, `count` back.
    #[inline]
    pub(crate) fn back(self, count: usize) -> Self {
        Self(self.0.wrapping_sub(low32(count)))
    }

    /// How far this lies after `other`; 0 when it lies before.
    #[inline]
    pub(crate) fn since(self, other: Self) -> usize {
        if self.before(other) {
            0
        } else {
            self.0.wrapping_sub(other.0) as usize
        }
    }

    /// Whether this comes before `other`: less than half the circle away.
    #[inline]
    pub(crate) fn before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) > 0x7fff_ffff
    }

    /// Whether this comes after `other`.
    #[inline]
    pub(crate) fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// The later of the two.
    #[inline]
    pub(crate) fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    pub(crate) fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }

    /// Whether this lies in `from..from + len`.
    #[inline]
    pub(crate) fn within(self, from: Self, len: usize) -> bool {
        (self.0.wrapping_sub(from.0) as usize) < len
    }
}

/// The low 32 bits, which is what counts on the circle.
fn low32(count: usize) -> u32 {
    u32::try_from(count & 0xffff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let (a, b) = (Seq(0xffff_fff0), Seq(0x10));
        assert!(a.before(b) && b.after(a) && !a.after(b) && !a.before(a));
        assert_eq!((b.since(a), a.since(b)), (0x20, 0));
        assert_eq!((a.add(0x20), b.back(0x20)), (b, a));
        assert_eq!((a.max(b), a.min(b)), (b, a));
        assert!(b.within(a, 0x21) && !b.within(a, 0x20) && !a.back(1).within(a, 100));
    }
}

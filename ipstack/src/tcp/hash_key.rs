//! Keys of keyed hashes, wiped when they are dropped.

use siphasher::sip::SipHasher13;
use std::fmt;
use zeroize::Zeroizing;

/// The key of a keyed hash (SipHash-1-3), on the heap, so that moving it leaves no copy behind.
pub(crate) struct HashKey(Box<Zeroizing<[u64; 2]>>);

impl HashKey {
    /// Keys from the system's randomness, 16 octets for each.
    pub(crate) fn split<const N: usize>(octets: &[[u8; 16]; N]) -> [Self; N] {
        std::array::from_fn(|at| {
            let mut key = Self(Box::default());
            let words = octets.get(at).map(|octets| octets.as_chunks::<8>().0);
            for (word, octets) in key.0.iter_mut().zip(words.unwrap_or_default()) {
                *word = u64::from_le_bytes(*octets);
            }
            key
        })
    }

    /// A hasher under this key.
    #[inline]
    pub(crate) fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher as _;
    use zeroize::{Zeroize, ZeroizeOnDrop};

    fn wiped_on_drop<T: ZeroizeOnDrop>(_: &T) {}

    #[test]
    fn a_key_is_wiped_when_it_is_dropped_and_is_not_printed() {
        let [mut key] = HashKey::split(&[[7; 16]]);
        assert_eq!(format!("{key:?}"), "HashKey");
        wiped_on_drop(&*key.0); // what drop does is what this does
        key.0.zeroize();
        assert_eq!(**key.0, [0, 0]);
    }

    #[test]
    fn the_keys_of_one_draw_differ_and_use_every_octet() {
        let octets: [[u8; 16]; 2] =
            std::array::from_fn(|n| std::array::from_fn(|at| u8::try_from(n * 16 + at).unwrap()));
        let [one, other] = HashKey::split(&octets);
        assert_eq!(**one.0, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_ne!(one.hasher().finish(), other.hasher().finish());
    }
}

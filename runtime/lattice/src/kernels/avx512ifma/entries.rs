//! Packed numbers of any width up to 56 bits, eight to a register.

use super::vector::Vector;

/// How packed entries of one width are read, eight at a time: they begin at a byte, each within eight bytes.
#[derive(Clone, Copy)]
pub(super) struct Entries<V> {
    /// Bits of an entry, and bytes of eight.
    pub(super) width: usize,
    /// Where every byte of the register comes from.
    bytes: V,
    /// How many bits of the one before are in the first byte of an entry.
    shifts: V,
    mask: V,
}

impl<V: Vector> Entries<V> {
    #[inline(always)]
    pub(super) fn new(bits: u32) -> Self {
        let width = bits as usize;
        // The last bytes of the eighth entry may lie beyond the register, and then the mask ends before them.
        let byte = |k: usize, b: usize| (k * width / 8 + b).min(63) as u64;
        let (mut bytes, mut shifts) = ([0; 8], [0; 8]);
        for (k, (word, shift)) in bytes.iter_mut().zip(&mut shifts).enumerate() {
            *shift = (k * width % 8) as u64;
            for b in 0..8 {
                *word |= byte(k, b) << (8 * b);
            }
        }
        let (bytes, shifts) = (V::load(&bytes), V::load(&shifts));
        Self { width, bytes, shifts, mask: V::splat((1 << bits) - 1) }
    }

    /// Entries `8 i` to `8 i + 7`.
    #[inline(always)]
    pub(super) fn at(self, words: &[u64], i: usize) -> V {
        let there = V::load_from(words, i * self.width).permute_bytes(self.bytes);
        there.shift_right(self.shifts).and(self.mask)
    }
}

//! Packed numbers of any width up to 56 bits, eight to a register.

use super::vector::{Vector, octets};

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

#[inline(always)]
pub(super) fn pack_narrow<V: Vector>(out: &mut [u64], a: &[u64], width: u32) {
    let width = width as usize;
    let start = |k: usize| k * width;
    let shifts = V::load(&std::array::from_fn(|k| (start(k) % 8) as u64));
    // Of entries that are eight bits long or longer, those with even numbers share no byte, and those with odd ones.
    let [even, odd] = [0, 1].map(|parity| {
        let (mut bytes, mut mask) = ([0u64; 8], [0u64; 8]);
        for k in (parity..8).step_by(2) {
            let first = start(k) / 8;
            for byte in first..=(start(k + 1) - 1) / 8 {
                bytes[byte / 8] |= ((8 * k + byte - first) as u64) << (byte % 8 * 8);
                mask[byte / 8] |= 0xff << (byte % 8 * 8);
            }
        }
        (V::load(&bytes), V::load(&mask))
    });
    for (i, run) in octets(a).iter().enumerate() {
        let shifted = V::load(run).shift_left(shifts);
        let [even, odd] = [even, odd].map(|(bytes, mask)| shifted.permute_bytes(bytes).and(mask));
        // The next register overwrites what is beyond these.
        even.or(odd).store_to(out, i * width);
    }
}

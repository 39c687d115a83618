//! Numbers packed to a fixed width in bits, one after another, the lowest bits first: how files hold residues and how
//! uniform ones are drawn.

/// The widest entry: with the seven bits that may precede it in its first byte it lies within 64 bits.
pub const MAX_WIDTH: u32 = 56;

/// Entries that begin at a byte together, whatever the width.
const GROUP: usize = 8;

/// Bytes that a group may be read from.
const WINDOW: usize = 64;

/// Bytes of `len` entries of `width` bits, `len` a multiple of 8.
pub const fn packed_len(len: usize, width: u32) -> usize {
    len / GROUP * width as usize
}

/// Appends entries, all below `2^width`.
///
/// # Panics
/// If the number of entries is not a multiple of 8 or the width is not 1 to 56.
pub fn pack(entries: &[u64], width: u32, out: &mut Vec<u8>) {
    assert!(entries.len().is_multiple_of(GROUP) && (1..=MAX_WIDTH).contains(&width), "packable");
    out.reserve(packed_len(entries.len(), width));
    let (last, bits) = stream(entries, width, |word| out.extend(word.to_le_bytes()));
    out.extend(&last.to_le_bytes()[..bits as usize / 8]);
}

/// Words of `len` packed entries, with as many after them as a group may be read from.
pub(crate) const fn packed_words(len: usize, width: u32) -> usize {
    packed_len(len, width).div_ceil(8) + WINDOW / 8
}

/// As [`pack`], to words, the lowest byte of each first; what is left of them is not written.
///
/// # Panics
/// If the words are fewer than [`packed_words`], or the number of entries is not a multiple of 8.
pub(crate) fn pack_words(entries: &[u64], width: u32, out: &mut [u64]) {
    assert!(out.len() >= packed_words(entries.len(), width), "room for the entries");
    let mut words = out.iter_mut();
    let mut put = |word| *words.next().expect("room for the entries") = word;
    let (last, bits) = stream(entries, width, &mut put);
    if bits > 0 {
        put(last);
    }
}

/// An entry of [`pack_words`].
pub(crate) const fn entry(words: &[u64], width: u32, i: usize) -> u64 {
    let (start, width) = (i * width as usize, width as usize);
    let (word, bit) = (start / 64, start % 64);
    let low = words[word] >> bit;
    let high = if bit + width > 64 { words[word + 1] << (64 - bit) } else { 0 };
    (low | high) & (u64::MAX >> (64 - width))
}

/// Calls `emit` with every full word of the packed entries, and returns the last bits and their number.
fn stream(entries: &[u64], width: u32, mut emit: impl FnMut(u64)) -> (u64, u32) {
    let (mut waiting, mut bits) = (0u64, 0);
    for &entry in entries {
        waiting |= entry << bits;
        bits += width;
        if bits >= u64::BITS {
            emit(waiting);
            bits -= u64::BITS;
            waiting = entry >> (width - bits);
        }
    }
    (waiting, bits)
}

/// Fills `out` with entries of `width` bits from exactly their bytes.
///
/// # Panics
/// If the lengths do not fit each other, or the width is not 1 to 56.
pub fn unpack(packed: &[u8], width: u32, out: &mut [u64]) {
    assert!(out.len().is_multiple_of(GROUP), "entries come in groups");
    assert_eq!(packed.len(), packed_len(out.len(), width), "as many bytes as the entries take");
    let step = width as usize;
    let whole = packed.len().saturating_sub(WINDOW - 1).div_ceil(step).min(out.len() / GROUP);
    let (head, tail) = out.split_at_mut(whole * GROUP);
    unpack_groups(packed, width, head);
    // The last groups are read from a copy that zeros follow.
    let rest = &packed[whole * step..];
    let mut padded = [0; 2 * WINDOW];
    padded[..rest.len()].copy_from_slice(rest);
    unpack_groups(&padded, width, tail);
}

/// Entries that are unpacked from words at a time.
const BATCH: usize = 512;

/// As [`unpack`], from the words of [`pack_words`].
///
/// # Panics
/// If there are fewer words than the entries take, their number is not a multiple of 8, or the width is not 1 to 56.
pub(crate) fn unpack_words(words: &[u64], width: u32, out: &mut [u64]) {
    let mut bytes = [0; packed_len(BATCH, MAX_WIDTH)];
    let of_batch = packed_len(BATCH, width) / size_of::<u64>();
    for (i, out) in out.chunks_mut(BATCH).enumerate() {
        let len = packed_len(out.len(), width);
        let words = &words[i * of_batch..][..len.div_ceil(size_of::<u64>())];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        unpack(&bytes[..len], width, out);
    }
}

/// Calls `$f` with the width as a constant, so that all shifts and offsets are.
macro_rules! with_constant_width {
    ($width:expr, $f:ident($bytes:expr, $out:expr); $($w:literal)*) => {
        match $width {
            $($w => $f::<$w>($bytes, $out),)*
            _ => panic_width($width),
        }
    };
}

/// Every group of `out` has a whole window of bytes from its first on.
fn unpack_groups(bytes: &[u8], width: u32, out: &mut [u64]) {
    with_constant_width!(width, unpack_wide(bytes, out);
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
        29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56);
}

fn unpack_wide<const WIDTH: usize>(bytes: &[u8], out: &mut [u64]) {
    let mask = u64::MAX >> (64 - WIDTH);
    for (i, group) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let window: &[u8; WINDOW] =
            bytes[i * WIDTH..].first_chunk().expect("the caller leaves a window for each group");
        for (k, entry) in group.iter_mut().enumerate() {
            let start = k * WIDTH / 8;
            let mut word = [0; 8];
            word.copy_from_slice(&window[start..start + 8]);
            *entry = (u64::from_le_bytes(word) >> (k * WIDTH % 8)) & mask;
        }
    }
}

#[cold]
fn panic_width(width: u32) {
    assert!((1..=MAX_WIDTH).contains(&width), "entries of {width} bits");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_entry_is_its_bits(width in 1..=MAX_WIDTH, groups in 0usize..200, seed: u64) {
            let mask = u64::MAX >> (64 - width);
            let entries: Vec<u64> = (0..groups * 8)
                .map(|i| (seed ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask)
                .collect();
            let mut bytes = Vec::new();
            pack(&entries, width, &mut bytes);
            prop_assert_eq!(bytes.len(), packed_len(entries.len(), width));
            let mut out = vec![0; entries.len()];
            unpack(&bytes, width, &mut out);
            prop_assert_eq!(&out, &entries);
            let mut words = vec![0; packed_words(entries.len(), width)];
            pack_words(&entries, width, &mut words);
            for (i, &packed) in entries.iter().enumerate() {
                prop_assert_eq!(entry(&words, width, i), packed);
            }
            out.fill(0);
            unpack_words(&words, width, &mut out);
            prop_assert_eq!(&out, &entries);
            // Bit by bit, by the definition.
            for (i, &entry) in entries.iter().enumerate() {
                let bit = |b: usize| u64::from(bytes[b / 8] >> (b % 8) & 1);
                let at = i * width as usize;
                let value = (0..width as usize).fold(0, |v, k| v | bit(at + k) << k);
                prop_assert_eq!(value, entry);
            }
        }
    }
}

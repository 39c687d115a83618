//! The vector in plain integers, from the definitions of the instructions: what tests run where the processor lacks them.

use std::array::from_fn;

use super::vector::{Vector, Words};

/// Eight words.
#[derive(Clone, Copy)]
pub(super) struct Model(Words);

impl Model {
    fn lanes(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(from_fn(|i| f(self.0[i], other.0[i])))
    }

    fn of_bytes(byte: impl Fn(usize) -> u8) -> Self {
        Self(from_fn(|i| u64::from_le_bytes(from_fn(|b| byte(8 * i + b)))))
    }

    /// Like [`Self::lanes`] on f64 numbers.
    fn numbers(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        self.lanes(other, |a, b| f(f64::from_bits(a), f64::from_bits(b)).to_bits())
    }

    /// The bits of a product of two words of 52 bits, from bit `shift` on, 52 of them, added.
    fn madd(self, a: Self, b: Self, shift: u32) -> Self {
        let mask = (1 << 52) - 1;
        let product = |i: usize| u128::from(a.0[i] & mask) * u128::from(b.0[i] & mask);
        Self(from_fn(|i| self.0[i].wrapping_add((product(i) >> shift) as u64 & mask)))
    }
}

impl Vector for Model {
    fn load(words: &Words) -> Self {
        Self(*words)
    }

    fn load_from(words: &[u64], byte: usize) -> Self {
        let all: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Self::of_bytes(|i| all[byte + i])
    }

    fn store(self, words: &mut Words) {
        *words = self.0;
    }

    fn store_to(self, words: &mut [u64], byte: usize) {
        let mut all: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        all[byte..byte + 64].copy_from_slice(self.0.map(u64::to_le_bytes).as_flattened());
        for (word, bytes) in words.iter_mut().zip(all.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }

    fn load_signed(words: &[i32; 8]) -> Self {
        Self(words.map(|word| i64::from(word).cast_unsigned()))
    }

    fn prefetch(_: &Words) {}

    fn prefetch_at<T>(_: &[T], _: usize) {}

    fn splat(word: u64) -> Self {
        Self([word; 8])
    }

    fn repeat_2(words: &[u64; 2]) -> Self {
        Self(from_fn(|i| words[i % 2]))
    }

    fn repeat_4(words: &[u64; 4]) -> Self {
        Self(from_fn(|i| words[i % 4]))
    }

    fn add(self, other: Self) -> Self {
        self.lanes(other, u64::wrapping_add)
    }

    fn sub(self, other: Self) -> Self {
        self.lanes(other, u64::wrapping_sub)
    }

    fn min(self, other: Self) -> Self {
        self.lanes(other, Ord::min)
    }

    fn and(self, other: Self) -> Self {
        self.lanes(other, |a, b| a & b)
    }

    fn or(self, other: Self) -> Self {
        self.lanes(other, |a, b| a | b)
    }

    fn above_52(self) -> Self {
        Self(self.0.map(|a| a >> 52))
    }

    fn above_32(self) -> Self {
        Self(self.0.map(|a| a >> 32))
    }

    fn raise_32(self) -> Self {
        Self(self.0.map(|a| a << 32))
    }

    fn raise_52(self) -> Self {
        Self(self.0.map(|a| a << 52))
    }

    fn shift_left(self, bits: Self) -> Self {
        self.lanes(bits, |a, by| a << by)
    }

    fn shift_right(self, bits: Self) -> Self {
        self.lanes(bits, |a, by| a >> by)
    }

    fn permute_bytes(self, bytes: Self) -> Self {
        let [all, from] = [self, bytes].map(|v| v.0.map(u64::to_le_bytes).as_flattened().to_vec());
        Self::of_bytes(|i| all[usize::from(from[i])])
    }

    fn mul_32(self, other: Self) -> Self {
        let mask = u64::from(u32::MAX);
        self.lanes(other, |a, b| (a & mask) * (b & mask))
    }

    fn permute(self, lanes: Self) -> Self {
        Self(lanes.0.map(|lane| self.0[lane as usize]))
    }

    fn exchange(a: Self, b: Self) -> (Self, Self) {
        let half = |i: usize| [a, b][i % 8 / 4].0[i / 8 * 4 + i % 4];
        (Self(from_fn(half)), Self(from_fn(|i| half(i + 8))))
    }

    fn madd_low(self, a: Self, b: Self) -> Self {
        self.madd(a, b, 0)
    }

    fn madd_high(self, a: Self, b: Self) -> Self {
        self.madd(a, b, 52)
    }

    fn add_above(self, bound: Self, addend: Self) -> Self {
        let add = |i: usize| if self.0[i] > bound.0[i] { addend.0[i] } else { 0 };
        Self(from_fn(|i| self.0[i].wrapping_add(add(i))))
    }

    fn compress_below(self, bound: Self) -> (Self, usize) {
        let below = self.0.iter().zip(bound.0).filter(|&(&lane, bound)| lane < bound);
        let (mut front, mut count) = ([0; 8], 0);
        for (place, (&lane, _)) in front.iter_mut().zip(below) {
            (*place, count) = (lane, count + 1);
        }
        (Self(front), count)
    }

    fn interleave(a: Self, b: Self) -> (Self, Self) {
        let word = |i: usize| [a, b][i % 2].0[i / 2];
        (Self(from_fn(word)), Self(from_fn(|i| word(i + 8))))
    }

    fn separate(a: Self, b: Self) -> (Self, Self) {
        let word = |i: usize| [a, b][i / 8].0[i % 8];
        (Self(from_fn(|i| word(2 * i))), Self(from_fn(|i| word(2 * i + 1))))
    }

    fn to_f64(self) -> Self {
        Self(self.0.map(|a| (a as f64).to_bits()))
    }

    fn floor_f64(self) -> Self {
        Self(self.0.map(|a| f64::from_bits(a) as u64))
    }

    fn add_f64(self, other: Self) -> Self {
        self.numbers(other, |a, b| a + b)
    }

    fn mul_f64(self, other: Self) -> Self {
        self.numbers(other, |a, b| a * b)
    }
}

//! What the kernels ask of a register: eight words, a product of 52 bits, one permutation and its opposite.
//!
//! The kernels are written against [`Vector`] alone, so that one text runs on the instructions and, in tests,
//! on a model of them in plain integers, on any processor.
//! Every function here and in the kernels is inlined into the entry points, which alone carry the target features:
//! a call that is left over would pass registers through memory.

/// Eight words of a limb.
pub(super) type Words = [u64; 8];

/// A limb as runs of eight words.
pub(super) fn octets(limb: &[u64]) -> &[Words] {
    let (octets, rest) = limb.as_chunks();
    assert!(rest.is_empty(), "a limb has a multiple of eight words");
    octets
}

/// A limb as runs of eight words.
pub(super) fn octets_mut(limb: &mut [u64]) -> &mut [Words] {
    let (octets, rest) = limb.as_chunks_mut();
    assert!(rest.is_empty(), "a limb has a multiple of eight words");
    octets
}

/// Four values of four others: `each!(word in words => value)`.
///
/// A closure might become a call, which does not carry the target features.
macro_rules! each {
    ($x:ident in $words:expr => $value:expr) => {{
        let [a, b, c, d] = $words;
        [
            {
                let $x = a;
                $value
            },
            {
                let $x = b;
                $value
            },
            {
                let $x = c;
                $value
            },
            {
                let $x = d;
                $value
            },
        ]
    }};
}
pub(super) use each;

/// Eight lanes of 64 bits. Sums and differences wrap, comparisons are unsigned.
pub(super) trait Vector: Copy {
    /// The words as they are.
    fn load(words: &Words) -> Self;

    /// The 64 bytes of a run of words from number `byte` on, the lowest byte of each word first.
    ///
    /// # Panics
    /// If the run is shorter.
    fn load_from(words: &[u64], byte: usize) -> Self;

    /// The words as they are.
    fn store(self, words: &mut Words);

    /// Overwrites the 64 bytes of a run of words from number `byte` on, the lowest byte of each word first.
    ///
    /// # Panics
    /// If the run is shorter.
    fn store_to(self, words: &mut [u64], byte: usize);

    /// Signed words of 32 bits, as signed ones of 64.
    fn load_signed(words: &[i32; 8]) -> Self;

    /// Asks for words that are soon to be loaded.
    fn prefetch(words: &Words);

    /// Asks for element number `i` of a run that may end before it: as many lines of a cache as it has.
    fn prefetch_at<T>(run: &[T], i: usize);

    /// The same word in every lane.
    fn splat(word: u64) -> Self;

    /// Two words, four times over.
    fn repeat_2(words: &[u64; 2]) -> Self;

    /// Four words, twice over.
    fn repeat_4(words: &[u64; 4]) -> Self;

    fn add(self, other: Self) -> Self;

    fn sub(self, other: Self) -> Self;

    fn min(self, other: Self) -> Self;

    fn and(self, other: Self) -> Self;

    fn or(self, other: Self) -> Self;

    /// The bits from 52 on.
    fn above_52(self) -> Self;

    /// The bits from 32 on.
    fn above_32(self) -> Self;

    /// The lower 32 bits, at the place of the upper ones.
    fn raise_32(self) -> Self;

    /// The lower 12 bits, at the place of the upper ones.
    fn raise_52(self) -> Self;

    /// Every word shifted up by a number of bits below 64.
    fn shift_left(self, bits: Self) -> Self;

    /// Every word shifted down by a number of bits below 64.
    fn shift_right(self, bits: Self) -> Self;

    /// Byte `i` of the result is byte `bytes[i]`, each of which is below 64.
    fn permute_bytes(self, bytes: Self) -> Self;

    /// The product of the lower 32 bits.
    fn mul_32(self, other: Self) -> Self;

    /// Lane `i` of the result is lane `lanes[i]`, each of which is below 8.
    fn permute(self, lanes: Self) -> Self;

    /// The lower halves of both registers, then the upper ones; its own opposite.
    fn exchange(a: Self, b: Self) -> (Self, Self);

    /// `self + (a b mod 2^52)`, of the low 52 bits of `a` and `b`.
    fn madd_low(self, a: Self, b: Self) -> Self;

    /// `self + floor(a b / 2^52)`, of the low 52 bits of `a` and `b`.
    fn madd_high(self, a: Self, b: Self) -> Self;

    /// Adds `addend` in the lanes where `self > bound`.
    fn add_above(self, bound: Self, addend: Self) -> Self;

    /// The lanes below a bound, moved to the front in their order, and their number; the others are unspecified.
    fn compress_below(self, bound: Self) -> (Self, usize);

    /// The sixteen words `a_0 b_0 a_1 b_1 .. a_7 b_7`.
    fn interleave(a: Self, b: Self) -> (Self, Self);

    /// The opposite of [`Self::interleave`]: of sixteen words, those with even and those with odd numbers.
    fn separate(a: Self, b: Self) -> (Self, Self);

    /// Integers below `2^53` to the bits of f64 numbers, exactly.
    fn to_f64(self) -> Self;

    /// Bits of f64 numbers in `[0, 2^53)`, rounded down to integers.
    fn floor_f64(self) -> Self;

    /// The sum of f64 numbers, given and returned as bits.
    fn add_f64(self, other: Self) -> Self;

    /// The product of f64 numbers, given and returned as bits.
    fn mul_f64(self, other: Self) -> Self;
}

//! Key switching, prime by prime: digits times the halves of a key, permuted, added up and divided.
//!
//! Hybrid key switching (Han and Ki, ePrint 2019/688) in the order of its memory: at each prime of the large basis the
//! digits are raised, multiplied and added while they lie in a near cache, and the sums never leave it:
//! those at the primes that are divided by come first, and then every other prime is finished at once.
//! Several results that share digits raise them once (hoisting: Halevi and Shoup, ePrint 2018/244).

use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::digits::Digits;
use crate::galois::Permutation;
use crate::kernels;
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::ring::Ring;

/// The halves of a switching key, limb by limb, one pair per digit.
pub trait KeyLimbs: Sync {
    /// The limbs `(b, a)` of a digit at a prime, if they lie in memory.
    fn limbs(&self, digit: usize, prime: Prime) -> Option<[&[u64]; 2]>;

    /// Writes the same limbs.
    fn expand(&self, digit: usize, prime: Prime, out: [&mut [u64]; 2]);
}

/// What is added to one half of a product of digits and key.
#[derive(Clone, Copy)]
pub enum Addend<'a> {
    /// The special product times a polynomial over the ciphertext primes.
    Lifted(&'a Poly),
    /// A polynomial over all primes.
    Extended(&'a Poly),
}

/// `permutation(Σ digit · key + add)`.
pub struct Switched<'a, K> {
    /// The digits.
    pub digits: &'a Digits<'a>,
    /// The key.
    pub key: &'a K,
    /// What is added to the two halves.
    pub add: [Option<Addend<'a>>; 2],
    /// What the sum is permuted by.
    pub permutation: Option<Arc<Permutation>>,
}

/// A sum of key switches and of a pair of polynomials over all primes.
pub struct Sum<'a, K> {
    /// The key switches.
    pub switched: Vec<Switched<'a, K>>,
    /// What is added as it is.
    pub plain: Option<[&'a Poly; 2]>,
}

/// Every sum, computed over `from`, divided by the primes that `to` lacks and rounded as in [`Poly::divide_and_round`]:
/// by the special primes, and with them by the last ciphertext primes where a rescale follows.
///
/// # Panics
/// If `to` is not a shorter run of ciphertext primes from `q_0`, or an operand or a key does not fit.
#[must_use]
pub fn divided_sums<K: KeyLimbs>(
    ring: &Arc<Ring>,
    from: Basis,
    to: Basis,
    sums: &[Sum<'_, K>],
) -> Vec<[Poly; 2]> {
    assert!(to == Basis::q(to.len()) && !to.is_empty(), "the quotient is over q_0 .. q_l");
    assert!(from.contains(to) && from != to, "the quotient has fewer primes");
    let special = ring.product_mod(Basis::p(from.p_limbs()), from);
    let special = |prime| special[from.position(prime).expect("a prime of the sum")];
    let remainders = Remainders::new(ring, from, to, sums, special);
    let scratch = || Poly::scratch(ring, to, Form::Evaluation);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    by_prime(&mut out).into_par_iter().enumerate().for_each(|(i, pairs)| {
        let prime = to.prime(i);
        let mut workspace = Workspace::new(ring, prime, special(prime), sums);
        let mut values = ring.pool().take(2 * ring.degree());
        for ((k, sum), pair) in sums.iter().enumerate().zip(pairs) {
            workspace.sum(sum, values.as_mut_slice());
            let halves = values.as_slice().chunks_exact(ring.degree());
            for (half, (out, values)) in pair.into_iter().zip(halves).enumerate() {
                remainders.divide(2 * k + half, prime, values, out);
            }
        }
    });
    out
}

/// The sums modulo the primes that they are divided by, ready to be converted to the others.
struct Remainders<'a> {
    ring: &'a Arc<Ring>,
    converter: Arc<BasisConverter>,
    dropped: Basis,
    /// Number of sums, times two halves.
    halves: usize,
    /// Per prime and half its scaled residues, then per half the overflow.
    limbs: Buffer,
}

impl<'a> Remainders<'a> {
    fn new<K: KeyLimbs>(
        ring: &'a Arc<Ring>,
        from: Basis,
        to: Basis,
        sums: &[Sum<'_, K>],
        special: impl Fn(Prime) -> u64 + Sync,
    ) -> Self {
        let (n, halves) = (ring.degree(), 2 * sums.len());
        let dropped = Basis::run(to.len()..from.q_limbs(), from.p_limbs());
        let converter = ring.converter(dropped, to);
        let mut limbs = ring.pool().take((dropped.len() + 1) * halves * n);
        let (rows, overflows) = limbs.as_mut_slice().split_at_mut(dropped.len() * halves * n);
        rows.par_chunks_exact_mut(halves * n).enumerate().for_each(|(i, row)| {
            let prime = dropped.prime(i);
            let mut workspace = Workspace::new(ring, prime, special(prime), sums);
            for (sum, pair) in sums.iter().zip(row.chunks_exact_mut(2 * n)) {
                workspace.sum(sum, pair);
                for half in pair.chunks_exact_mut(n) {
                    ring.table(prime).inverse(half);
                    converter.scale(ring, i, half);
                }
            }
        });
        if converter.overflows() {
            let rows = &*rows;
            overflows.par_chunks_exact_mut(n).enumerate().for_each(|(half, u)| {
                let scaled: Vec<&[u64]> = rows.chunks_exact(n).skip(half).step_by(halves).collect();
                converter.overflow(ring, &scaled, u);
            });
        }
        Self { ring, converter, dropped, halves, limbs }
    }

    /// `out = (values - remainder) / D` modulo a prime that stays.
    fn divide(&self, half: usize, prime: Prime, values: &[u64], out: &mut [u64]) {
        let limbs = self.limbs.as_slice().chunks_exact(self.ring.degree());
        let count = self.dropped.len() + usize::from(self.converter.overflows());
        let scaled: Vec<&[u64]> = limbs.skip(half).step_by(self.halves).take(count).collect();
        self.converter.convert_scaled(self.ring, &scaled, prime, out);
        let table = self.ring.table(prime);
        table.forward(out);
        let inverse = self.converter.inverse_product(prime);
        kernels::sub_from_mul_scalar(self.ring.isa(), table.modulus(), out, values, inverse);
    }
}

/// The limbs of all pairs, sorted by prime.
pub(crate) fn by_prime(pairs: &mut [[Poly; 2]]) -> Vec<Vec<[&mut [u64]; 2]>> {
    let mut limbs: Vec<Vec<[&mut [u64]; 2]>> = Vec::new();
    for [first, second] in pairs {
        let both = first.limbs_mut().zip(second.limbs_mut());
        for (i, ((_, a), (_, b))) in both.enumerate() {
            if limbs.len() == i {
                limbs.push(Vec::new());
            }
            limbs[i].push([a, b]);
        }
    }
    limbs
}

/// What one task needs to sum at one prime.
pub(crate) struct Workspace<'a> {
    ring: &'a Arc<Ring>,
    prime: Prime,
    /// The special product modulo the prime.
    special: u64,
    /// The digits whose raised limbs lie in `raised`.
    digits: Option<&'a Digits<'a>>,
    raised: Buffer,
    /// A product before it is permuted, and after.
    product: Buffer,
    /// Expanded limbs of a key.
    key: Option<Buffer>,
}

impl<'a> Workspace<'a> {
    fn new<K>(ring: &'a Arc<Ring>, prime: Prime, special: u64, sums: &[Sum<'_, K>]) -> Self {
        let switched = sums.iter().flat_map(|s| &s.switched);
        let most = switched.map(|s| s.digits.count()).max().unwrap_or(0);
        Self::with_digits(ring, prime, special, most)
    }

    /// Room for at most that many digits.
    pub(crate) fn with_digits(
        ring: &'a Arc<Ring>,
        prime: Prime,
        special: u64,
        most: usize,
    ) -> Self {
        let take = |limbs| ring.pool().take(limbs * ring.degree());
        let (raised, product) = (take(most), take(2));
        Self { ring, prime, special, digits: None, raised, product, key: None }
    }

    /// `out =` a sum at this prime, one half after the other.
    fn sum<K: KeyLimbs>(&mut self, sum: &'a Sum<'a, K>, out: &mut [u64]) {
        let mut fresh = true;
        for switched in &sum.switched {
            self.switch(switched, out, fresh);
            fresh = false;
        }
        let (isa, q) = (self.ring.isa(), self.ring.modulus(self.prime));
        let Some(plain) = &sum.plain else {
            if fresh {
                out.fill(0);
            }
            return;
        };
        for (half, poly) in out.chunks_exact_mut(self.ring.degree()).zip(plain) {
            if fresh {
                half.copy_from_slice(poly.limb_of(self.prime));
            } else {
                kernels::add_assign(isa, q, half, poly.limb_of(self.prime));
            }
        }
    }

    /// `out +=` (or `=`, if it is `fresh`) a key switch at this prime, one half after the other.
    pub(crate) fn switch<K: KeyLimbs>(
        &mut self,
        switched: &Switched<'a, K>,
        out: &mut [u64],
        fresh: bool,
    ) {
        let n = self.ring.degree();
        let (isa, q) = (self.ring.isa(), self.ring.modulus(self.prime));
        if !self.digits.is_some_and(|d| std::ptr::eq(d, switched.digits)) {
            switched.digits.raise(self.prime, self.raised.as_mut_slice());
            self.digits = Some(switched.digits);
        }
        let digits = switched.digits.at(self.prime, self.raised.as_slice());
        let key = key_limbs(self.ring, switched.key, self.prime, digits.len(), &mut self.key);
        let (product, permuted) = self.product.as_mut_slice().split_at_mut(n);
        for (half, out) in out.chunks_exact_mut(n).enumerate() {
            let pairs: Vec<(&[u64], &[u64])> =
                digits.iter().zip(&key).map(|(d, k)| (*d, k[half])).collect();
            let sum = |out: &mut [u64]| {
                kernels::inner_product(isa, q, out, &pairs);
                match (switched.add[half], self.prime) {
                    (Some(Addend::Lifted(poly)), Prime::Q(_)) => {
                        let limb = poly.limb_of(self.prime);
                        kernels::mul_scalar_add_assign(isa, q, out, limb, self.special);
                    }
                    (Some(Addend::Extended(poly)), _) => {
                        kernels::add_assign(isa, q, out, poly.limb_of(self.prime));
                    }
                    _ => {}
                }
            };
            match &switched.permutation {
                None if fresh => sum(out),
                None => {
                    sum(product);
                    kernels::add_assign(isa, q, out, product);
                }
                Some(permutation) => {
                    sum(product);
                    if fresh {
                        permutation.apply(out, product);
                    } else {
                        permutation.apply(permuted, product);
                        kernels::add_assign(isa, q, out, permuted);
                    }
                }
            }
        }
    }
}

/// Both halves of a key at a prime for every digit, expanded into `buffer` unless they lie in memory.
fn key_limbs<'b, K: KeyLimbs>(
    ring: &Ring,
    key: &'b K,
    prime: Prime,
    digits: usize,
    buffer: &'b mut Option<Buffer>,
) -> Vec<[&'b [u64]; 2]> {
    if let Some(limbs) = (0..digits).map(|digit| key.limbs(digit, prime)).collect() {
        return limbs;
    }
    let n = ring.degree();
    let buffer = buffer.get_or_insert_with(|| ring.pool().take(0));
    if buffer.as_slice().len() < 2 * digits * n {
        *buffer = ring.pool().take(2 * digits * n);
    }
    let pairs = buffer.as_mut_slice().chunks_exact_mut(2 * n).take(digits).enumerate();
    pairs
        .map(|(digit, pair)| {
            let (b, a) = pair.split_at_mut(n);
            key.expand(digit, prime, [&mut *b, &mut *a]);
            [&*b, &*a]
        })
        .collect()
}

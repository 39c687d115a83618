//! Key switching, prime by prime: digits times the halves of a key, permuted, added up and divided.
//!
//! Hybrid key switching (Han and Ki, ePrint 2019/688) in the order of its memory: at each prime of the large basis the
//! digits are raised, multiplied and added while they lie in a near cache. [`crate::divided`] divides the sums.
//! Several results that share digits raise them once (hoisting: Halevi and Shoup, ePrint 2018/244).

use std::sync::{Arc, Mutex};

use crate::basis::Prime;
use crate::digits::{Digits, Pending};
use crate::galois::Permutation;
use crate::kernels;
use crate::packed::{self, Limbs};
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::ring::Ring;
use crate::tasks::{NO_PANIC, Stage, in_stages};

/// Digits whose products are added up at a time: of so many the key is asked for in time, and the digits stay near.
const GROUP: usize = 6;

/// The halves of a switching key, limb by limb, one pair per digit.
pub trait KeyLimbs: Sync {
    /// The limbs `(b, a)` of a digit at a prime in the form of [`Limbs::of_keys`], as far as they lie in memory.
    fn limbs(&self, digit: usize, prime: Prime) -> [Option<&[u64]>; 2];

    /// Writes the residues of `b` (half 0) or `a`; called only where they do not lie in memory.
    fn expand(&self, digit: usize, prime: Prime, half: usize, out: &mut [u64]);
}

/// What is added to one half of a product of digits and key.
#[derive(Clone, Copy)]
pub enum Addend<'a> {
    /// The special product times a polynomial over the ciphertext primes.
    Lifted(&'a Poly),
    /// The special product times a sum of products of polynomials over the ciphertext primes.
    LiftedProducts(&'a [(&'a Poly, &'a Poly)]),
    /// A polynomial over all primes.
    Extended(&'a Poly),
}

/// `permutation(times · Σ digit · key + add)`.
pub struct Switched<'a, K> {
    /// The digits.
    pub digits: &'a Digits<'a>,
    /// The key.
    pub key: &'a K,
    /// A ciphertext prime that the product is multiplied by, if any.
    pub times: Option<Prime>,
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

/// `permutation(q·Σ digit · key + (add, 0))` over a basis that has, beyond the primes of the digits, the ciphertext prime
/// `q` and the special primes: a key switch that is not divided by either, for an operand that is not yet either.
///
/// Modulo `q` itself only the addend is left.
///
/// # Panics
/// If the digits do not reach all ciphertext primes of `add`'s basis but the last, or the key does not fit.
#[must_use]
pub fn extended_switch<K: KeyLimbs>(
    ring: &Arc<Ring>,
    digits: &Digits<'_>,
    key: &K,
    add: &Poly,
    permutation: &Arc<Permutation>,
) -> [Poly; 2] {
    let limbs = add.basis().q_limbs();
    assert_eq!(digits.limb_count() + 1, limbs, "digits reach all primes but the last");
    undivided_switch(ring, digits, key, add, permutation, Some(Prime::Q(limbs - 1)))
}

/// `permutation(Σ digit · key + (add, 0))` over a basis that has the special primes: a key switch that is not divided by
/// them, for an operand that is not yet either.
///
/// # Panics
/// If the digits do not reach all ciphertext primes of `add`'s basis, or the key does not fit.
#[must_use]
pub fn lifted_switch<K: KeyLimbs>(
    ring: &Arc<Ring>,
    digits: &Digits<'_>,
    key: &K,
    add: &Poly,
    permutation: &Arc<Permutation>,
) -> [Poly; 2] {
    assert_eq!(digits.limb_count(), add.basis().q_limbs(), "digits reach all primes");
    undivided_switch(ring, digits, key, add, permutation, None)
}

/// `permutation(times·Σ digit · key + (add, 0))`.
fn undivided_switch<K: KeyLimbs>(
    ring: &Arc<Ring>,
    digits: &Digits<'_>,
    key: &K,
    add: &Poly,
    permutation: &Arc<Permutation>,
    times: Option<Prime>,
) -> [Poly; 2] {
    let basis = add.basis();
    let switched = Switched {
        digits,
        key,
        times,
        add: [Some(Addend::Extended(add)), None],
        permutation: Some(Arc::clone(permutation)),
    };
    let scratch = || Poly::scratch(ring, basis, Form::Evaluation);
    let mut out = [[scratch(), scratch()]];
    let pending = Pending::among([digits]);
    let limbs: Vec<Mutex<Vec<[&mut [u64]; 2]>>> =
        by_prime(&mut out).into_iter().map(Mutex::new).collect();
    let stages = [pending.stages(), &[Stage::of(basis.len())]].concat();
    in_stages(&stages, |stage, i, finished| {
        if stage < pending.stages().len() {
            return pending.task(stage, i, finished);
        }
        pending.wait(finished);
        let prime = basis.prime(i);
        for [first, second] in limbs[i].lock().expect(NO_PANIC).iter_mut() {
            if times == Some(prime) {
                permutation.apply(ring.isa(), first, add.limb_of(prime));
                second.fill(0);
                continue;
            }
            let mut workspace = Workspace::with_digits(ring, prime, 1, digits.count());
            workspace.switch(&switched, [&mut **first, &mut **second], true);
        }
    });
    drop(limbs);
    let [both] = out;
    both
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
    /// The digits that lie in `raised`.
    digits: Option<&'a Digits<'a>>,
    /// Shared only while it is read.
    raised: Arc<Limbs>,
    /// A digit on its way there, a product before it is permuted, and a permuted half.
    spare: Buffer,
    /// Expanded limbs of a key.
    key: Option<Limbs>,
}

impl<'a> Workspace<'a> {
    pub(crate) fn new<K>(
        ring: &'a Arc<Ring>,
        prime: Prime,
        special: u64,
        sums: &[Sum<'_, K>],
    ) -> Self {
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
        Self::over(ring, prime, special, None, Arc::new(Limbs::new(ring, prime, most)))
    }

    fn over(
        ring: &'a Arc<Ring>,
        prime: Prime,
        special: u64,
        digits: Option<&'a Digits<'a>>,
        raised: Arc<Limbs>,
    ) -> Self {
        let spare = ring.pool().take(3 * ring.degree());
        Self { ring, prime, special, digits, raised, spare, key: None }
    }

    /// Raises digits, for several tasks that read them ([`Self::beside`]).
    pub(crate) fn raise(&mut self, digits: &'a Digits<'a>) {
        let limbs = Arc::get_mut(&mut self.raised).expect("nobody reads the digits before");
        let spare = &mut self.spare.as_mut_slice()[..self.ring.degree()];
        for i in 0..digits.count() {
            if in_place(self.ring, digits, i, self.prime).is_none() {
                digits.put(i, self.prime, limbs, spare);
            }
        }
        self.digits = Some(digits);
    }

    /// What another task needs that multiplies the same digits.
    pub(crate) fn beside(&self) -> Self {
        Self::over(self.ring, self.prime, self.special, self.digits, Arc::clone(&self.raised))
    }

    /// `out =` a sum at this prime, one half after the other.
    pub(crate) fn sum<K: KeyLimbs>(&mut self, sum: &'a Sum<'a, K>, mut out: [&mut [u64]; 2]) {
        let mut fresh = true;
        for switched in &sum.switched {
            self.switch(switched, out.each_mut().map(|half| &mut **half), fresh);
            fresh = false;
        }
        let (isa, q) = (self.ring.isa(), self.ring.modulus(self.prime));
        let Some(plain) = &sum.plain else {
            if fresh {
                out.into_iter().for_each(|half| half.fill(0));
            }
            return;
        };
        for (half, poly) in out.into_iter().zip(plain) {
            if fresh {
                half.copy_from_slice(poly.limb_of(self.prime));
            } else {
                kernels::add_assign(isa, q, half, poly.limb_of(self.prime));
            }
        }
    }

    /// `out +=` (or `=`, if it is `fresh`) a key switch at this prime, half by half.
    pub(crate) fn switch<K: KeyLimbs>(
        &mut self,
        switched: &Switched<'a, K>,
        mut out: [&mut [u64]; 2],
        fresh: bool,
    ) {
        let Self { ring, prime, special, digits, raised, spare, key } = self;
        let (prime, n, spare) = (*prime, ring.degree(), spare.as_mut_slice());
        let (isa, q) = (ring.isa(), ring.modulus(prime));
        let count = switched.digits.count();
        let key = key_limbs(ring, switched.key, prime, count, (key, &mut spare[..n]));
        let (product, permuted) = spare.split_at_mut(2 * n);
        let straight = fresh && switched.permutation.is_none();
        let (first, second) = match &mut out {
            [first, second] if straight => (&mut **first, &mut **second),
            _ => product.split_at_mut(n),
        };
        let there = digits.is_some_and(|d| std::ptr::eq(d, switched.digits));
        let mut sum = packed::Sum::new(ring, prime, [&mut *first, &mut *second], true);
        let at = |i| in_place(ring, switched.digits, i, prime);
        for start in (0..count).step_by(GROUP) {
            let group = start..count.min(start + GROUP);
            if !there {
                // Just before they are multiplied, while they are near.
                let limbs = Arc::get_mut(raised).expect("nobody reads the digits before");
                for i in group.clone().filter(|&i| at(i).is_none()) {
                    switched.digits.put(i, prime, limbs, permuted);
                }
            }
            let triples: Vec<(&[u64], [&[u64]; 2])> =
                group.map(|i| (at(i).unwrap_or_else(|| raised.at(i)), key[i])).collect();
            sum.add_keys(&triples);
        }
        sum.finish();
        *digits = Some(switched.digits);
        if let Some(times) = switched.times {
            let times = q.reduce_u64(ring.modulus(times).value());
            for half in [&mut *first, &mut *second] {
                kernels::mul_scalar_assign(isa, q, half, times);
            }
        }
        for (half, add) in [first, second].into_iter().zip(&switched.add) {
            match (add, prime) {
                (Some(Addend::Lifted(poly)), Prime::Q(_)) => {
                    kernels::mul_scalar_add_assign(isa, q, half, poly.limb_of(prime), *special);
                }
                (Some(Addend::LiftedProducts(products)), Prime::Q(_)) => {
                    let limbs = |(a, b): &(&'a Poly, &'a Poly)| (a.limb_of(prime), b.limb_of(prime));
                    let products: Vec<(&[u64], &[u64])> = products.iter().map(limbs).collect();
                    kernels::inner_product(isa, q, permuted, &products);
                    kernels::mul_scalar_add_assign(isa, q, half, permuted, *special);
                }
                (Some(Addend::Extended(poly)), _) => {
                    kernels::add_assign(isa, q, half, poly.limb_of(prime));
                }
                _ => {}
            }
        }
        if straight {
            return;
        }
        for (half, out) in product.chunks_exact(n).zip(out) {
            match &switched.permutation {
                None => kernels::add_assign(isa, q, out, half),
                Some(permutation) if fresh => permutation.apply(isa, out, half),
                Some(permutation) => {
                    permutation.apply(isa, permuted, half);
                    kernels::add_assign(isa, q, out, permuted);
                }
            }
        }
    }
}

/// A digit at a prime of its own, where limbs that are multiplied have the form of those of polynomials.
fn in_place<'a>(ring: &Ring, digits: &'a Digits<'a>, i: usize, prime: Prime) -> Option<&'a [u64]> {
    digits.own(i, prime).filter(|_| !packed::is_packed(ring.modulus(prime)))
}

/// Both halves of a key at a prime for every digit; what does not lie in memory is expanded into `buffer`.
fn key_limbs<'b, K: KeyLimbs>(
    ring: &Ring,
    key: &'b K,
    prime: Prime,
    digits: usize,
    (buffer, spare): (&'b mut Option<Limbs>, &mut [u64]),
) -> Vec<[&'b [u64]; 2]> {
    let there: Vec<[Option<&[u64]>; 2]> = (0..digits).map(|d| key.limbs(d, prime)).collect();
    let halves = (0..digits).flat_map(|digit| [(digit, 0), (digit, 1)]);
    let missing: Vec<(usize, usize)> =
        halves.filter(|&(d, half)| there[d][half].is_none()).collect();
    let buffer = buffer.get_or_insert_with(|| Limbs::of_keys(ring, prime, missing.len()));
    if buffer.count() < missing.len() {
        *buffer = Limbs::of_keys(ring, prime, missing.len());
    }
    for (i, &(digit, half)) in missing.iter().enumerate() {
        key.expand(digit, prime, half, spare);
        buffer.store(i, spare);
    }
    let buffer = &*buffer;
    let mut expanded = (0..missing.len()).map(|i| buffer.at(i));
    let mut limb = |there: Option<&'b [u64]>| {
        there.or_else(|| expanded.next()).expect("what is missing was expanded")
    };
    there.into_iter().map(|[b, a]| [limb(b), limb(a)]).collect()
}

//! Key switching, prime by prime: digits times the halves of a key, permuted, added up and divided.
//!
//! Hybrid key switching (Han and Ki, ePrint 2019/688) in the order of its memory: at each prime of the large basis the
//! digits are raised, multiplied and added while they lie in a near cache. [`crate::divided`] divides the sums.
//! Several results that share digits raise them once (hoisting: Halevi and Shoup, ePrint 2018/244).

use std::sync::{Arc, Mutex};

use crate::basis::{Basis, Prime};
use crate::digits::{Digits, Pending};
use crate::galois::Permutation;
use crate::kernels;
use crate::packed::{self, Limbs};
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::ring::Ring;
use crate::tasks::{NO_PANIC, in_stages};

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

/// `permutation(times · Σ digit · key + add) + then`.
pub struct Switched<'a, K> {
    /// The digits.
    pub digits: &'a Digits<'a>,
    /// The key.
    pub key: &'a K,
    /// A ciphertext prime that the product is multiplied by, if any; the digits need not reach it, since modulo it
    /// nothing is left of the product.
    pub times: Option<Prime>,
    /// What is added to the two halves.
    pub add: [Option<Addend<'a>>; 2],
    /// What the sum is permuted by.
    pub permutation: Option<Arc<Permutation>>,
    /// What is added to the two halves after that.
    pub then: [Option<Addend<'a>>; 2],
}

impl<'a, K> Switched<'a, K> {
    /// The product alone.
    pub const fn new(digits: &'a Digits<'a>, key: &'a K) -> Self {
        Self { digits, key, times: None, add: [None; 2], permutation: None, then: [None; 2] }
    }
}

/// A key switch over `basis` that is not divided by anything, for an operand that is not divided yet either.
///
/// # Panics
/// If the digits do not reach all ciphertext primes of the basis but that of `times`, or the key does not fit.
#[must_use]
pub fn undivided_switch<K: KeyLimbs>(
    ring: &Arc<Ring>,
    basis: Basis,
    switched: &Switched<'_, K>,
) -> [Poly; 2] {
    let reached = switched.digits.limb_count() + usize::from(switched.times.is_some());
    assert_eq!(reached, basis.q_limbs(), "digits reach all primes");
    let special = ring.product_mod(Basis::p(basis.p_limbs()), basis);
    let scratch = || Poly::scratch(ring, basis, Form::Evaluation);
    let mut out = [[scratch(), scratch()]];
    let pending = Pending::among([switched.digits]);
    let limbs: Vec<Mutex<Vec<[&mut [u64]; 2]>>> =
        by_prime(&mut out).into_iter().map(Mutex::new).collect();
    let stages = [pending.stages(), &[basis.len()]].concat();
    in_stages(&stages, |stage, i, finished| {
        if stage < pending.stages().len() {
            return pending.task(stage, i, finished);
        }
        pending.wait(finished);
        let digits = switched.digits.count();
        let mut workspace = Workspace::with_digits(ring, basis.prime(i), special[i], digits);
        for [first, second] in limbs[i].lock().expect(NO_PANIC).iter_mut() {
            workspace.switch(switched, [&mut **first, &mut **second]);
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
    /// A limb on its way to a place in another form.
    spare: Buffer,
    /// A product before it is permuted.
    product: Option<Buffer>,
    /// Expanded limbs of a key.
    key: Option<Limbs>,
}

impl<'a> Workspace<'a> {
    pub(crate) fn new<K>(
        ring: &'a Arc<Ring>,
        prime: Prime,
        special: u64,
        switched: &[Switched<'_, K>],
    ) -> Self {
        let most = switched.iter().map(|s| s.digits.count()).max().unwrap_or(0);
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
        let spare = ring.pool().take(ring.degree());
        Self { ring, prime, special, digits, raised, spare, product: None, key: None }
    }

    /// Raises digits, for several tasks that read them ([`Self::beside`]).
    pub(crate) fn raise(&mut self, digits: &'a Digits<'a>) {
        let limbs = Arc::get_mut(&mut self.raised).expect("nobody reads the digits before");
        let spare = self.spare.as_mut_slice();
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

    /// `out =` a key switch at this prime, half by half.
    pub(crate) fn switch<K: KeyLimbs>(
        &mut self,
        switched: &Switched<'a, K>,
        mut out: [&mut [u64]; 2],
    ) {
        let n = self.ring.degree();
        let Some(permutation) = &switched.permutation else {
            self.unpermuted(switched, out.each_mut().map(|half| &mut **half));
            return self.add(switched.then, out);
        };
        let mut product = self.product.take().unwrap_or_else(|| self.ring.pool().take(2 * n));
        let (first, second) = product.as_mut_slice().split_at_mut(n);
        self.unpermuted(switched, [&mut *first, &mut *second]);
        for (out, half) in out.iter_mut().zip([first, second]) {
            permutation.apply(self.ring.isa(), out, half);
        }
        self.product = Some(product);
        self.add(switched.then, out);
    }

    /// `out = times · Σ digit · key + add`.
    fn unpermuted<K: KeyLimbs>(&mut self, switched: &Switched<'a, K>, mut out: [&mut [u64]; 2]) {
        if switched.times == Some(self.prime) {
            out.iter_mut().for_each(|half| half.fill(0));
        } else {
            self.multiply(switched, out.each_mut().map(|half| &mut **half));
        }
        if let Some(times) = switched.times.filter(|&times| times != self.prime) {
            let q = self.ring.modulus(self.prime);
            let times = q.reduce_u64(self.ring.modulus(times).value());
            for half in &mut out {
                kernels::mul_scalar_assign(self.ring.isa(), q, half, times);
            }
        }
        self.add(switched.add, out);
    }

    /// `out = Σ digit · key`.
    fn multiply<K: KeyLimbs>(&mut self, switched: &Switched<'a, K>, out: [&mut [u64]; 2]) {
        let Self { ring, prime, digits, raised, spare, key, .. } = self;
        let (prime, spare) = (*prime, spare.as_mut_slice());
        let count = switched.digits.count();
        let key = key_limbs(ring, switched.key, prime, count, (key, spare));
        let there = digits.is_some_and(|d| std::ptr::eq(d, switched.digits));
        let mut sum = packed::Sum::new(ring, prime, out, true);
        let at = |i| in_place(ring, switched.digits, i, prime);
        for start in (0..count).step_by(GROUP) {
            let group = start..count.min(start + GROUP);
            if !there {
                // Just before they are multiplied, while they are near.
                let limbs = Arc::get_mut(raised).expect("nobody reads the digits before");
                for i in group.clone().filter(|&i| at(i).is_none()) {
                    switched.digits.put(i, prime, limbs, spare);
                }
            }
            let triples: Vec<(&[u64], [&[u64]; 2])> =
                group.map(|i| (at(i).unwrap_or_else(|| raised.at(i)), key[i])).collect();
            sum.add_keys(&triples);
        }
        sum.finish();
        *digits = Some(switched.digits);
    }

    /// Adds what there is to add to the two halves.
    fn add(&mut self, addends: [Option<Addend<'a>>; 2], out: [&mut [u64]; 2]) {
        let Self { ring, prime, special, spare, .. } = self;
        let (isa, q, prime) = (ring.isa(), ring.modulus(*prime), *prime);
        for (half, addend) in out.into_iter().zip(addends) {
            match (addend, prime) {
                (Some(Addend::Lifted(poly)), Prime::Q(_)) => {
                    kernels::mul_scalar_add_assign(isa, q, half, poly.limb_of(prime), *special);
                }
                (Some(Addend::LiftedProducts(products)), Prime::Q(_)) => {
                    let limbs =
                        |(a, b): &(&'a Poly, &'a Poly)| (a.limb_of(prime), b.limb_of(prime));
                    let products: Vec<(&[u64], &[u64])> = products.iter().map(limbs).collect();
                    let spare = spare.as_mut_slice();
                    kernels::inner_product(isa, q, spare, &products);
                    kernels::mul_scalar_add_assign(isa, q, half, spare, *special);
                }
                (Some(Addend::Extended(poly)), _) => {
                    kernels::add_assign(isa, q, half, poly.limb_of(prime));
                }
                // Modulo a special prime what is lifted vanishes.
                (Some(Addend::Lifted(_) | Addend::LiftedProducts(_)), Prime::P(_)) | (None, _) => {}
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

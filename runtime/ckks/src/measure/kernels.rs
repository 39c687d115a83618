//! Times of what every operation is made of: transforms, products and sums of one limb, base conversions of a digit.
//!
//! Measured on one thread with operands that stay in the cache, so that a floor made of them asks for no less than the
//! kernels can do.

use std::convert::Infallible;
use std::hint::black_box;

use heplan_lattice::{Basis, Poly, Prime, Seed, sampling};

use super::clock::{Budget, Clock};
use crate::context::Context;

/// How often the median of a kernel is taken.
const ROUNDS: u32 = 3;

/// Bytes of fresh memory that are touched at a time: more than what allocators take from memory that was freed.
const FRESH_BYTES: usize = 64 << 20;
/// Bytes that the system gives at a time.
const PAGE_BYTES: usize = 4096;

/// Seconds of each kernel on one thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernels {
    /// Forward transform of one limb.
    pub forward: f64,
    /// Inverse transform of one limb.
    pub inverse: f64,
    /// Modular product of two limbs, element by element.
    pub product: f64,
    /// Modular sum of two limbs.
    pub addition: f64,
    /// Conversion of the residues of the first digit to all other primes of a key switch at the highest level.
    pub raise: f64,
    /// Conversion of the residues modulo the special primes to all ciphertext primes.
    pub lower: f64,
    /// Uniform residues of one limb from a seed: what expands a key.
    pub uniform: f64,
    /// One byte of memory that the process touches for the first time.
    pub fresh: f64,
}

impl Kernels {
    /// Measures the kernels on the last ciphertext prime, which is like most of them, and the first digit of a context.
    ///
    /// The caller sees to it that the thread pool in use has one thread.
    pub fn measure(context: &Context, budget: Budget) -> Self {
        let (ring, parameters) = (context.ring(), context.parameters());
        // The best of some medians: what a neighbour on the machine takes is not the kernel's.
        let budget = Budget(budget.0 / ROUNDS);
        let time = |work: &mut dyn FnMut()| {
            let mut work = || {
                work();
                Ok::<(), Infallible>(())
            };
            let mut median = || match budget.median(Clock::Process, &mut work) {
                Ok(timing) => timing.seconds,
                Err(never) => match never {},
            };
            (0..ROUNDS).map(|_| median()).fold(f64::INFINITY, f64::min)
        };
        let last = parameters.max_level();
        let typical = Basis::run(last..last + 1, 0);
        let random = |tag| sampling::uniform(ring, typical, &Seed::new([tag; 32]));
        let table = ring.table(Prime::Q(last));
        // Aligned like the limbs of any polynomial.
        let mut limb = random(0);
        let [mut out, a, b] = [1, 2, 3].map(random);
        let (limbs, special) = (parameters.q().len(), parameters.p().len());
        let digit = Basis::digit(0..parameters.digit_size());
        let others = Basis::run(parameters.digit_size()..limbs, special);
        Self {
            forward: time(&mut || table.forward(black_box(first_limb(&mut limb)))),
            inverse: time(&mut || table.inverse(black_box(first_limb(&mut limb)))),
            product: time(&mut || out.set_mul(black_box(&a), &b)),
            addition: time(&mut || out.add_assign(black_box(&a))),
            raise: time(&mut conversion(context, digit, others)),
            lower: time(&mut conversion(context, Basis::p(special), Basis::q(limbs))),
            uniform: time(&mut || drop(black_box(random(5)))),
            fresh: time(&mut touch) / FRESH_BYTES as f64,
        }
    }
}

/// Touches memory that no allocator keeps.
fn touch() {
    let mut fresh = vec![0u8; FRESH_BYTES];
    fresh.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    drop(black_box(fresh));
}

fn first_limb(poly: &mut Poly) -> &mut [u64] {
    poly.limbs_mut().next().expect("a polynomial has a limb").1
}

/// One conversion of random residues.
fn conversion(context: &Context, from: Basis, to: Basis) -> impl FnMut() {
    let ring = context.ring().clone();
    let converter = ring.converter(from, to);
    let source = sampling::uniform(&ring, from, &Seed::new([4; 32]));
    let mut target = Poly::zero(&ring, to, heplan_lattice::Form::Coefficient);
    move || {
        let source: Vec<&[u64]> = source.limbs().collect();
        let mut target: Vec<&mut [u64]> = target.limbs_mut().map(|(_, limb)| limb).collect();
        converter.convert(&ring, black_box(&source), &mut target);
    }
}

//! Element-wise kernels with at most two operands.

use super::super::Lanes;
use super::field::{Factor, Field, factor_words};
use super::vector::{Vector, octets, octets_mut};
use crate::modulus::Modulus;

#[inline(always)]
pub(super) fn add_assign<V: Vector>(q: Modulus, a: &mut [u64], b: &[u64]) {
    let f = Field::<V>::new(q);
    for (x, y) in octets_mut(a).iter_mut().zip(octets(b)) {
        f.reduce_once(V::load(x).add(V::load(y))).store(x);
    }
}

#[inline(always)]
pub(super) fn sub_assign<V: Vector>(q: Modulus, a: &mut [u64], b: &[u64]) {
    let f = Field::<V>::new(q);
    for (x, y) in octets_mut(a).iter_mut().zip(octets(b)) {
        f.lift(V::load(x).sub(V::load(y))).store(x);
    }
}

#[inline(always)]
pub(super) fn neg_assign<V: Vector>(q: Modulus, a: &mut [u64]) {
    let f = Field::<V>::new(q);
    for x in octets_mut(a) {
        f.lift(f.zero.sub(V::load(x))).store(x);
    }
}

#[inline(always)]
pub(super) fn add_scalar_assign<V: Vector>(q: Modulus, a: &mut [u64], s: u64) {
    let f = Field::<V>::new(q);
    let s = V::splat(s);
    for x in octets_mut(a) {
        f.reduce_once(V::load(x).add(s)).store(x);
    }
}

/// Products of two residues: one Montgomery product, whose factor `2^-52` a second one takes back.
#[derive(Clone, Copy)]
struct Products<V> {
    f: Field<V>,
    two_52: Factor<V>,
}

impl<V: Vector> Products<V> {
    #[inline(always)]
    fn new(q: Modulus) -> Self {
        let two_52 = factor_words(q, q.reduce_u64(1 << 52));
        Self { f: Field::new(q), two_52: Factor::splat(&two_52) }
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        self.f.mul(self.f.mul_montgomery(a, b), self.two_52)
    }
}

#[inline(always)]
pub(super) fn mul<V: Vector>(q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    let products = Products::<V>::new(q);
    for ((o, x), y) in octets_mut(out).iter_mut().zip(octets(a)).zip(octets(b)) {
        products.mul(V::load(x), V::load(y)).store(o);
    }
}

#[inline(always)]
pub(super) fn mul_assign<V: Vector>(q: Modulus, a: &mut [u64], b: &[u64]) {
    let products = Products::<V>::new(q);
    for (x, y) in octets_mut(a).iter_mut().zip(octets(b)) {
        products.mul(V::load(x), V::load(y)).store(x);
    }
}

#[inline(always)]
pub(super) fn mul_add_assign<V: Vector>(q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let products = Products::<V>::new(q);
    for ((o, x), y) in octets_mut(acc).iter_mut().zip(octets(a)).zip(octets(b)) {
        let product = products.mul(V::load(x), V::load(y));
        products.f.reduce_once(V::load(o).add(product)).store(o);
    }
}

#[inline(always)]
pub(super) fn mul_scalar_assign<V: Vector>(q: Modulus, a: &mut [u64], s: u64) {
    let f = Field::<V>::new(q);
    let s = Factor::splat(&factor_words(q, s));
    for x in octets_mut(a) {
        f.mul(V::load(x), s).store(x);
    }
}

#[inline(always)]
pub(super) fn mul_scalar_add_assign<V: Vector>(q: Modulus, acc: &mut [u64], b: &[u64], s: u64) {
    let f = Field::<V>::new(q);
    let s = Factor::splat(&factor_words(q, s));
    for (o, x) in octets_mut(acc).iter_mut().zip(octets(b)) {
        f.reduce_once(V::load(o).add(f.mul(V::load(x), s))).store(o);
    }
}

#[inline(always)]
pub(super) fn sub_from_mul_scalar<V: Vector>(q: Modulus, out: &mut [u64], a: &[u64], s: u64) {
    let f = Field::<V>::new(q);
    let s = Factor::splat(&factor_words(q, s));
    for (o, x) in octets_mut(out).iter_mut().zip(octets(a)) {
        let difference = V::load(x).add(f.q).sub(V::load(o));
        f.mul(difference, s).store(o);
    }
}

/// Residues modulo one prime to those modulo another, by their centred representatives.
#[derive(Clone, Copy)]
pub(super) struct Centred<V> {
    f: Field<V>,
    half: V,
    /// Residues in the upper half stand for themselves minus the modulus; modulo q that is a number to add.
    minus_from: V,
}

impl<V: Vector> Centred<V> {
    #[inline(always)]
    pub(super) fn new(from: Modulus, q: Modulus) -> Self {
        let half = V::splat(from.value() >> 1);
        let minus_from = V::splat(q.neg(q.reduce_u64(from.value())));
        Self { f: Field::new(q), half, minus_from }
    }

    #[inline(always)]
    pub(super) fn reduce(self, x: V) -> V {
        self.f.reduce(x.add_above(self.half, self.minus_from))
    }
}

#[inline(always)]
pub(super) fn reduce_centred<V: Vector>(from: Modulus, q: Modulus, out: &mut [u64], src: &[u64]) {
    let centred = Centred::<V>::new(from, q);
    for (o, x) in octets_mut(out).iter_mut().zip(octets(src)) {
        centred.reduce(V::load(x)).store(o);
    }
}

#[inline(always)]
pub(super) fn permute<V: Vector>(out: &mut [u64], src: &[u64], sources: &[u32], lanes: &Lanes) {
    let src = octets(src);
    for (o, &source) in octets_mut(out).iter_mut().zip(sources) {
        let run = V::load(&src[source as usize / 8]);
        run.permute(V::load(&lanes[source as usize % 8])).store(o);
    }
}

/// The nearest cache is too small for what comes that long before it is read.
#[inline(always)]
pub(super) fn prefetch<V: Vector>(words: &[u64]) {
    octets(words).iter().for_each(V::prefetch);
}

/// A negative number is a large word: with the modulus it is a small one.
#[inline(always)]
fn lifted<V: Vector>(x: V, q: V) -> V {
    x.min(x.add(q))
}

#[inline(always)]
pub(super) fn lift<V: Vector>(q: Modulus, out: &mut [u64], src: &[i64]) {
    let q = V::splat(q.value());
    for (o, x) in octets_mut(out).iter_mut().zip(octets(bytemuck::cast_slice(src))) {
        lifted(V::load(x), q).store(o);
    }
}

#[inline(always)]
pub(super) fn lift_short<V: Vector>(q: Modulus, out: &mut [u64], src: &[i32]) {
    let q = V::splat(q.value());
    for (o, x) in octets_mut(out).iter_mut().zip(src.as_chunks().0) {
        lifted(V::load_signed(x), q).store(o);
    }
}

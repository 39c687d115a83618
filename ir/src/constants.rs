//! The constants of a graph: matrices, vectors, polynomials and slot transforms.
//!
//! Constants are content-addressed: adding equal content twice gives the same id, and the text
//! form prints the hash, never the numbers.
//!
//! Equal content is found by a fingerprint of a few entries and then by comparison, bit by bit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::entity::ConstId;
use crate::matrix::SparseMatrix;
use crate::series::PolynomialSet;
use crate::transform::{Diagonal, LinearTransform};

/// One constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// The linear part of an `Affine` term (`tensor` level).
    Matrix(Arc<SparseMatrix>),
    /// One number per element of a tensor, or per slot of a ciphertext.
    Vector(Arc<Vec<f64>>),
    /// The polynomials of a `Polynomial` node (`tensor` and `slots` levels).
    Polynomials(Arc<PolynomialSet>),
    /// A linear map between slots (`slots`, `ckks` and `plan` levels).
    Transform(Arc<LinearTransform>),
}

/// The BLAKE3 hash of a constant's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    /// `#` and the first eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#")?;
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl Constant {
    /// The hash of kind and content, the same on every machine.
    pub fn hash(&self) -> ContentHash {
        let mut h = blake3::Hasher::new();
        match self {
            Self::Matrix(m) => {
                h.update(b"matrix");
                words(&mut h, [m.rows, m.cols]);
                words(&mut h, m.start.iter().copied());
                words(&mut h, m.col.iter().map(|&c| c as usize));
                reals(&mut h, &m.val);
            }
            Self::Vector(v) => {
                h.update(b"vector");
                words(&mut h, [v.len()]);
                reals(&mut h, v);
            }
            Self::Polynomials(p) => {
                h.update(b"polynomials");
                words(&mut h, [p.series.len(), p.class.len()]);
                for s in &p.series {
                    words(&mut h, [s.coefficients.len()]);
                    reals(&mut h, &s.coefficients);
                }
                words(&mut h, p.class.iter().map(|&c| c as usize));
            }
            Self::Transform(t) => {
                h.update(b"transform");
                words(&mut h, [t.width, t.period, t.inputs, t.outputs, t.diagonals.len()]);
                for d in &t.diagonals {
                    words(&mut h, [d.output as usize, d.input as usize, d.offset as usize]);
                    words(&mut h, [d.slots.len()]);
                    words(&mut h, d.slots.iter().map(|&s| s as usize));
                    blocks(&mut h, d.values.iter().map(|v| v.to_bits().to_le_bytes()));
                }
            }
        }
        ContentHash(*h.finalize().as_bytes())
    }
}

/// Numbers reach the hasher in blocks: one call for each number costs more than the hashing.
fn words(h: &mut blake3::Hasher, values: impl IntoIterator<Item = usize>) {
    blocks(h, values.into_iter().map(|v| (v as u64).to_le_bytes()));
}

fn reals(h: &mut blake3::Hasher, values: &[f64]) {
    blocks(h, values.iter().map(|v| v.to_bits().to_le_bytes()));
}

fn blocks<const N: usize>(h: &mut blake3::Hasher, values: impl Iterator<Item = [u8; N]>) {
    let mut block = [0; 4096];
    let mut used = 0;
    for bytes in values {
        block[used..used + N].copy_from_slice(&bytes);
        used += N;
        if used + N > block.len() {
            h.update(&block[..used]);
            used = 0;
        }
    }
    h.update(&block[..used]);
}

/// The most entries of an array that a fingerprint reads.
const SAMPLED: usize = 512;

/// A number that is the same for equal constants, and cheap: it reads a sample of the entries.
fn fingerprint(constant: &Constant) -> u64 {
    let mut print = 0;
    match constant {
        Constant::Matrix(m) => {
            sample(&mut print, &[m.rows, m.cols], |&n| n as u64);
            sample(&mut print, &m.col, |&c| c.into());
            sample(&mut print, &m.val, |v| v.to_bits());
        }
        Constant::Vector(v) => sample(&mut print, v, |v| v.to_bits()),
        Constant::Polynomials(p) => {
            p.series.iter().for_each(|s| sample(&mut print, &s.coefficients, |c| c.to_bits()));
            sample(&mut print, &p.class, |&c| c.into());
        }
        Constant::Transform(t) => {
            let head = [t.width, t.period, t.inputs, t.outputs];
            sample(&mut print, &head, |&n| n as u64);
            sample(&mut print, &t.diagonals, |d| {
                let middle = d.values.get(d.values.len() / 2).map_or(0, |v| v.to_bits());
                u64::from(d.offset) << 32 | u64::from(middle)
            });
        }
    }
    print
}

/// Takes the length of an array and evenly spaced entries of it into a fingerprint.
fn sample<T>(print: &mut u64, values: &[T], bits: impl Fn(&T) -> u64) {
    // Odd, with its ones spread: Knuth's multiplicative hashing for words of 64 bits.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = values.len() / SAMPLED + 1;
    let words = values.iter().step_by(step).map(bits);
    for word in std::iter::once(values.len() as u64).chain(words) {
        *print = (print.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
}

/// Whether two constants are equal to the last bit, as equal hashes would say.
fn same(a: &Constant, b: &Constant) -> bool {
    match (a, b) {
        (Constant::Matrix(a), Constant::Matrix(b)) => {
            Arc::ptr_eq(a, b)
                || (a.rows, a.cols) == (b.rows, b.cols)
                    && a.start == b.start
                    && a.col == b.col
                    && same_reals(&a.val, &b.val)
        }
        (Constant::Vector(a), Constant::Vector(b)) => Arc::ptr_eq(a, b) || same_reals(a, b),
        (Constant::Polynomials(a), Constant::Polynomials(b)) => {
            a.class == b.class
                && a.series.len() == b.series.len()
                && a.series
                    .iter()
                    .zip(&b.series)
                    .all(|(a, b)| same_reals(&a.coefficients, &b.coefficients))
        }
        (Constant::Transform(a), Constant::Transform(b)) => {
            let head = |t: &LinearTransform| (t.width, t.period, t.inputs, t.outputs);
            Arc::ptr_eq(a, b)
                || head(a) == head(b)
                    && a.diagonals.len() == b.diagonals.len()
                    && a.diagonals.iter().zip(&b.diagonals).all(|(a, b)| same_diagonals(a, b))
        }
        _ => false,
    }
}

fn same_reals(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn same_diagonals(a: &Diagonal, b: &Diagonal) -> bool {
    (a.output, a.input, a.offset) == (b.output, b.input, b.offset)
        && a.slots == b.slots
        && a.values.len() == b.values.len()
        && a.values.iter().zip(&b.values).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A constant of a pool. Its hash is computed when it is first asked for: a compilation passes
/// gigabytes of matrices from graph to graph, and only those of the plan need one.
#[derive(Clone, Debug)]
struct Item {
    constant: Constant,
    print: u64,
    hash: OnceLock<ContentHash>,
}

/// The constants of one graph; cheap to clone, so that every level keeps its own.
#[derive(Clone, Debug, Default)]
pub struct ConstPool {
    items: Vec<Item>,
    /// By fingerprint the constants that have it.
    by_print: BTreeMap<u64, Vec<ConstId>>,
}

impl PartialEq for ConstPool {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Item, &Item)| a.print == b.print && same(&a.constant, &b.constant);
        self.items.len() == other.items.len() && self.items.iter().zip(&other.items).all(same)
    }
}

impl ConstPool {
    /// Adds a constant, or finds the equal one that is there.
    pub fn add(&mut self, constant: Constant) -> ConstId {
        let print = fingerprint(&constant);
        self.intern(Item { constant, print, hash: OnceLock::new() })
    }

    /// Adds a constant of another pool with what is known of it there; `None` if it has none
    /// such.
    pub fn adopt(&mut self, other: &Self, id: ConstId) -> Option<ConstId> {
        other.items.get(id.index()).map(|item| self.intern(item.clone()))
    }

    fn intern(&mut self, item: Item) -> ConstId {
        let alike = self.by_print.entry(item.print).or_default();
        let known = alike.iter().find(|id| same(&self.items[id.index()].constant, &item.constant));
        if let Some(&known) = known {
            return known;
        }
        let id = ConstId::new(self.items.len());
        alike.push(id);
        self.items.push(item);
        id
    }

    /// Adds a matrix.
    pub fn add_matrix(&mut self, m: SparseMatrix) -> ConstId {
        self.add(Constant::Matrix(Arc::new(m)))
    }

    /// Adds a vector.
    pub fn add_vector(&mut self, v: Vec<f64>) -> ConstId {
        self.add(Constant::Vector(Arc::new(v)))
    }

    /// The constant with this id, if there is one.
    pub fn get(&self, id: ConstId) -> Option<&Constant> {
        self.items.get(id.index()).map(|i| &i.constant)
    }

    /// The content hash of a constant.
    ///
    /// # Panics
    /// If `id` is not of this pool.
    pub fn hash(&self, id: ConstId) -> ContentHash {
        let item = &self.items[id.index()];
        *item.hash.get_or_init(|| item.constant.hash())
    }

    /// The first constant whose printed hash is `text` (`#` and eight digits).
    pub fn find(&self, text: &str) -> Option<ConstId> {
        (0..self.items.len()).map(ConstId::new).find(|&id| self.hash(id).to_string() == text)
    }

    /// Number of constants.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Ids and constants, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ConstId, &Constant)> {
        self.items.iter().enumerate().map(|(i, item)| (ConstId::new(i), &item.constant))
    }

    /// The matrix with this id.
    ///
    /// # Panics
    /// If `id` names no matrix; a verified graph has none such.
    pub fn matrix(&self, id: ConstId) -> &Arc<SparseMatrix> {
        match self.get(id) {
            Some(Constant::Matrix(m)) => m,
            other => unreachable!("{id} is {other:?}, not a matrix"),
        }
    }

    /// The vector with this id.
    ///
    /// # Panics
    /// If `id` names no vector; a verified graph has none such.
    pub fn vector(&self, id: ConstId) -> &Arc<Vec<f64>> {
        match self.get(id) {
            Some(Constant::Vector(v)) => v,
            other => unreachable!("{id} is {other:?}, not a vector"),
        }
    }

    /// The polynomials with this id.
    ///
    /// # Panics
    /// If `id` names no polynomials; a verified graph has none such.
    pub fn polynomials(&self, id: ConstId) -> &Arc<PolynomialSet> {
        match self.get(id) {
            Some(Constant::Polynomials(p)) => p,
            other => unreachable!("{id} is {other:?}, not polynomials"),
        }
    }

    /// The slot transform with this id.
    ///
    /// # Panics
    /// If `id` names no transform; a verified graph has none such.
    pub fn transform(&self, id: ConstId) -> &Arc<LinearTransform> {
        match self.get(id) {
            Some(Constant::Transform(t)) => t,
            other => unreachable!("{id} is {other:?}, not a transform"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(last: f64) -> Constant {
        let row = |r: usize, row: &mut Vec<(u32, f64)>| {
            row.push((r as u32, if r == 4999 { last } else { 1.0 }));
        };
        Constant::Matrix(Arc::new(SparseMatrix::from_rows(5000, 5000, row)))
    }

    #[test]
    fn constants_are_one_exactly_where_their_hashes_are_equal() {
        let vector = |v: &[f64]| Constant::Vector(Arc::new(v.to_vec()));
        // Matrices that differ outside of the sample, and numbers that differ in their bits only.
        let all = [
            matrix(1.0),
            matrix(1.0),
            matrix(2.0),
            vector(&[0.0]),
            vector(&[-0.0]),
            vector(&[f64::NAN]),
            vector(&[f64::NAN]),
            vector(&[]),
        ];
        let mut pool = ConstPool::default();
        let ids: Vec<ConstId> = all.iter().map(|c| pool.add(c.clone())).collect();
        for (a, i) in all.iter().zip(&ids) {
            assert_eq!(pool.hash(*i), a.hash());
            for (b, j) in all.iter().zip(&ids) {
                assert_eq!(i == j, a.hash() == b.hash(), "{i} {j}");
            }
        }
        let mut other = ConstPool::default();
        for (id, _) in pool.iter() {
            assert_eq!(other.adopt(&pool, id), Some(id));
        }
        assert!(other == pool && other != ConstPool::default());
        assert_eq!(other.adopt(&pool, ConstId::new(99)), None);
    }
}

//! The constants of a graph: matrices, vectors, polynomials and slot transforms.
//!
//! Constants are content-addressed: adding equal content twice gives the same id, and the text
//! form prints the hash, never the numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::entity::ConstId;
use crate::matrix::SparseMatrix;
use crate::series::PolynomialSet;
use crate::transform::LinearTransform;

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

/// The constants of one graph; cheap to clone, so that every level keeps its own.
#[derive(Clone, Debug, Default)]
pub struct ConstPool {
    items: Vec<(ContentHash, Constant)>,
    by_hash: BTreeMap<ContentHash, ConstId>,
}

impl PartialEq for ConstPool {
    fn eq(&self, other: &Self) -> bool {
        self.items.iter().map(|i| i.0).eq(other.items.iter().map(|i| i.0))
    }
}

impl ConstPool {
    /// Adds a constant, or finds the equal one that is there.
    pub fn add(&mut self, constant: Constant) -> ConstId {
        let hash = constant.hash();
        *self.by_hash.entry(hash).or_insert_with(|| {
            self.items.push((hash, constant));
            ConstId::new(self.items.len() - 1)
        })
    }

    /// Adds a constant of another pool under the hash that it has there; `None` if it has none
    /// such.
    pub fn adopt(&mut self, other: &Self, id: ConstId) -> Option<ConstId> {
        let (hash, constant) = other.items.get(id.index())?;
        Some(*self.by_hash.entry(*hash).or_insert_with(|| {
            self.items.push((*hash, constant.clone()));
            ConstId::new(self.items.len() - 1)
        }))
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
        self.items.get(id.index()).map(|i| &i.1)
    }

    /// The content hash of a constant.
    ///
    /// # Panics
    /// If `id` is not of this pool.
    pub fn hash(&self, id: ConstId) -> ContentHash {
        self.items[id.index()].0
    }

    /// The first constant whose printed hash is `text` (`#` and eight digits).
    pub fn find(&self, text: &str) -> Option<ConstId> {
        let at = self.items.iter().position(|i| i.0.to_string() == text)?;
        Some(ConstId::new(at))
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
        self.items.iter().enumerate().map(|(i, c)| (ConstId::new(i), &c.1))
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

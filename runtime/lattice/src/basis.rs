//! Which primes of the chain a polynomial has residues for.

use std::fmt;
use std::ops::Range;

/// A set of primes of a ring: a run `q_start..q_end` of the ciphertext primes, then the first `p_limbs` special primes.
///
/// The order of the limbs is that of this text. At level l a ciphertext has the basis `Basis::q(l + 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Basis {
    q_start: usize,
    q_end: usize,
    p_limbs: usize,
}

impl Basis {
    /// `q_0 .. q_{limbs-1}`.
    pub const fn q(limbs: usize) -> Self {
        Self { q_start: 0, q_end: limbs, p_limbs: 0 }
    }

    /// `q_0 .. q_{q_limbs-1}, p_0 .. p_{p_limbs-1}`.
    pub const fn qp(q_limbs: usize, p_limbs: usize) -> Self {
        Self { q_start: 0, q_end: q_limbs, p_limbs }
    }

    /// `p_0 .. p_{limbs-1}`.
    pub const fn p(limbs: usize) -> Self {
        Self { q_start: 0, q_end: 0, p_limbs: limbs }
    }

    /// The run of ciphertext primes `q`, then `p_0 .. p_{p_limbs-1}`. An empty or reversed run is none.
    pub const fn run(q: Range<usize>, p_limbs: usize) -> Self {
        if q.start < q.end {
            Self { q_start: q.start, q_end: q.end, p_limbs }
        } else {
            Self { q_start: 0, q_end: 0, p_limbs }
        }
    }

    /// The run of ciphertext primes `q`: the primes of a digit.
    pub const fn digit(q: Range<usize>) -> Self {
        Self::run(q, 0)
    }

    /// Number of limbs.
    pub const fn len(self) -> usize {
        self.q_limbs() + self.p_limbs
    }

    /// Whether there is no limb.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Number of ciphertext primes.
    pub const fn q_limbs(self) -> usize {
        self.q_end - self.q_start
    }

    /// Number of special primes.
    pub const fn p_limbs(self) -> usize {
        self.p_limbs
    }

    /// The run of ciphertext primes.
    pub const fn q_range(self) -> Range<usize> {
        self.q_start..self.q_end
    }

    /// The same ciphertext primes without the special ones.
    pub const fn without_p(self) -> Self {
        Self { p_limbs: 0, ..self }
    }

    /// The limb position of ciphertext prime `q_i`, if it is here.
    pub const fn position_q(self, i: usize) -> Option<usize> {
        if self.q_start <= i && i < self.q_end { Some(i - self.q_start) } else { None }
    }

    /// The limb position of special prime `p_i`, if it is here.
    pub const fn position_p(self, i: usize) -> Option<usize> {
        if i < self.p_limbs { Some(self.q_limbs() + i) } else { None }
    }

    /// The primes in the order of the limbs.
    pub fn primes(self) -> impl Iterator<Item = Prime> {
        self.q_range().map(Prime::Q).chain((0..self.p_limbs).map(Prime::P))
    }

    /// The prime of limb `limb`.
    ///
    /// # Panics
    /// If there is no such limb.
    pub const fn prime(self, limb: usize) -> Prime {
        assert!(limb < self.len(), "no such limb");
        if limb < self.q_limbs() {
            Prime::Q(self.q_start + limb)
        } else {
            Prime::P(limb - self.q_limbs())
        }
    }

    /// The limb position of a prime, if it is here.
    pub const fn position(self, prime: Prime) -> Option<usize> {
        match prime {
            Prime::Q(i) => self.position_q(i),
            Prime::P(i) => self.position_p(i),
        }
    }

    /// Whether every prime of `other` is here.
    pub const fn contains(self, other: Self) -> bool {
        let q = other.q_limbs() == 0
            || (self.q_start <= other.q_start && other.q_end <= self.q_end && self.q_limbs() > 0);
        q && other.p_limbs <= self.p_limbs
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q[{}..{}] p[0..{}]", self.q_start, self.q_end, self.p_limbs)
    }
}

/// One prime of a ring, by its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prime {
    /// Ciphertext prime `q_i`.
    Q(usize),
    /// Special prime `p_i`.
    P(usize),
}

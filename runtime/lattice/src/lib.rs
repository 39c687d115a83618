//! RNS arithmetic over power-of-two cyclotomic rings: `Z_Q[X]/(X^N + 1)` for `Q` a product of primes below 2^50.
//!
//! # Terms
//! - A [`Ring`] is a degree `N = 2^10 .. 2^17`, a chain of ciphertext primes `q_0 .. q_L` and special primes `p_0 .. p_{k-1}`.
//! - A [`Basis`] names some of them; a [`Poly`] has one *limb*, N residues, for each prime of its basis, in one [`Form`].
//! - A *level* l is the basis `q_0 .. q_l`; rescaling and ModDown ([`Poly::rescale`], [`Poly::mod_down`]) divide and leave fewer primes,
//!   ModUp ([`Poly::mod_up_digit`], [`Poly::decompose`]) raises a *digit*, a run of primes, to more.
//! - [`keyswitch`], [`divided`] and [`hoisting`] do both for a whole key switch, prime by prime, from [`Digits`].
//!
//! # What always holds
//! - Residues lie in `[0, q)` between any two calls. Lazier ranges live inside kernels.
//! - Limbs lie one after another, each aligned to 64 bytes; buffers come from the ring's [`Pool`] and go back to it.
//! - The same input gives the same words, whatever the number of threads and whatever the [`Isa`].
//! - Operands that do not fit each other (ring, form, basis) panic: only a bug can bring them together.
//!   Whatever comes from a file goes through [`Poly::from_words`] and [`Ring::new`], which check and return.
//! - What a polynomial holds is never printed; one that [`Poly::into_secret`] marked is wiped on drop.
//!
//! # Example
//! ```
//! use heplan_lattice::{Basis, Form, Poly, Ring, Seed, primes, sampling};
//!
//! let q: Vec<u64> = primes::ntt_primes_below(1 << 40, 11).take(3).collect();
//! let ring = Ring::new(11, &q, &[])?;
//! let seed = Seed::new([7; 32]);
//! let a = sampling::uniform(&ring, Basis::q(3), &seed);
//! let mut s = sampling::ternary(&ring, Basis::q(3), &seed);
//! s.to_evaluation();
//! let mut product = a.mul(&s);
//! product.to_coefficient();
//! assert_eq!(product.form(), Form::Coefficient);
//! # Ok::<(), heplan_lattice::RingError>(())
//! ```

pub mod basis;
pub mod bits;
mod blocks;
pub mod convert;
pub mod crt;
pub mod digits;
pub mod divided;
pub mod galois;
pub mod gaussian;
pub mod hoisting;
pub mod integers;
#[allow(unsafe_code, reason = "vector intrinsics; each use states why it is sound")]
mod kernels;
pub mod keyswitch;
pub mod modulus;
pub mod ntt;
mod ops;
pub mod packed;
pub mod poly;
pub mod pool;
pub mod primes;
mod quotient;
pub mod ring;
pub mod rlwe;
pub mod sampling;
mod scaled;
mod stream;
pub mod switch;
mod tasks;
pub mod weighted;

pub use basis::{Basis, Prime};
pub use convert::BasisConverter;
pub use digits::Digits;
pub use galois::{conjugation_element, galois_element};
pub use kernels::Isa;
pub use modulus::Modulus;
pub use ntt::NttTable;
pub use poly::{Form, Poly};
pub use pool::Pool;
pub use ring::{DEFAULT_POOL_BYTES, Ring, RingError};
pub use sampling::Seed;

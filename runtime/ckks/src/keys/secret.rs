//! The secret key: encryption, decryption, and the making of evaluation keys. For the client only.
//!
//! The secret is uniform ternary and derived from a 32-byte seed, which is what a file holds.
//! Fresh ciphertexts are symmetric, `c_1` uniform from a public seed and `c_0 = -c_1 s + e + m`, since the client that
//! encrypts owns the key: half the size and less noise than public-key encryption.
//! No seed is used twice: every polynomial has a seed of its own, derived by label and counters.
//! Nothing here branches on secrets or indexes by them.

use std::sync::Arc;

use heplan_ir::bootstrap::SPARSE_WEIGHT;
use heplan_ir::plan::{KeyKind, KeySpec, PlanId};
use heplan_ir::scale::Scale;
use heplan_ir::slots::Compact;
use heplan_lattice::galois::inverse_element;
use heplan_lattice::rlwe::{Sample, phase};
use heplan_lattice::{Basis, Poly, Prime, Seed, conjugation_element, sampling};
use rayon::prelude::*;

use crate::ciphertext::{Ciphertext, FreshCiphertext};
use crate::context::Context;
use crate::encoder::Plaintext;
use crate::keys::switching::SeededKey;

/// Identity of a secret key: pseudo-random, tells nothing about it.
pub type KeyId = [u8; 32];

/// The secret polynomial and the seed behind it. Wiped on drop; has no `Debug` and no serialised form.
pub struct SecretKey {
    context: Arc<Context>,
    seed: Seed,
    /// Over all primes, in evaluation form.
    s: Poly,
}

impl SecretKey {
    /// The key that a seed stands for. The seed must come from the operating system and serve one key only.
    pub fn from_seed(context: &Arc<Context>, seed: &Seed) -> Self {
        let ring = context.ring();
        let mut s = sampling::ternary(ring, ring.full_qp(), &seed.derive("secret key", &[]));
        s.to_evaluation();
        Self { context: Arc::clone(context), seed: seed.clone(), s }
    }

    /// The public identity of this key.
    pub fn id(&self) -> KeyId {
        key_id(&self.seed)
    }

    /// What the key belongs to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Encrypts a plaintext at a level; `randomness` must serve this one ciphertext only.
    ///
    /// # Panics
    /// If the level is above the highest.
    pub fn encrypt(
        &self,
        plaintext: &Plaintext,
        scale: &Scale,
        level: usize,
        randomness: &Seed,
    ) -> FreshCiphertext {
        let ring = self.context.ring();
        let basis = self.context.basis_q(level);
        let mask = randomness.derive("ciphertext mask", &[]);
        let error = randomness.derive("ciphertext error", &[]);
        let sample = Sample { secret: &self.s, error: &error, mask: &mask };
        let c0 = sample.draw(ring, basis, Some(&|q, out| plaintext.residues(q, out)));
        FreshCiphertext { c0, mask, scale: scale.clone(), compact: Compact::NONE }
    }

    /// The centred coefficients of `Σ c_i s^i`.
    pub fn decrypt_coefficients(&self, ct: &Ciphertext) -> Vec<f64> {
        phase(&ct.parts, &self.s).into_centred_f64()
    }

    /// The slots of a ciphertext. Whoever learns them exactly learns something about the key: see
    /// [`Self::decrypt_flooded`] for results that are handed on (Li and Micciancio, ePrint 2020/1533).
    pub fn decrypt(&self, ct: &Ciphertext) -> Vec<f64> {
        self.context.encoder().decode(&self.decrypt_coefficients(ct), &ct.scale)
    }

    /// The slots of a ciphertext under Gaussian noise whose standard deviation in every slot is `deviation`.
    ///
    /// The noise goes onto the coefficients, independent in each, so that it covers the error of the ciphertext wherever
    /// that lies (noise flooding; ePrint 2024/853 for how large it must be). `randomness` serves this call only.
    pub fn decrypt_flooded(&self, ct: &Ciphertext, deviation: f64, randomness: &Seed) -> Vec<f64> {
        let mut coefficients = self.decrypt_coefficients(ct);
        // A slot is a sum of N coefficients with factors of mean square 1/2 in its real part.
        let n = coefficients.len() as f64;
        let sigma = deviation * ct.scale.to_f64() / (n / 2.0).sqrt();
        for (c, noise) in coefficients.iter_mut().zip(normal_deviates(randomness)) {
            *c += (noise * sigma).round_ties_even();
        }
        self.context.encoder().decode(&coefficients, &ct.scale)
    }

    /// The evaluation key that `spec` asks for.
    ///
    /// The key for level `ℓ` serves every level up to it: the gadget is the indicator of a digit's primes times the
    /// special product, and digits are blocks from the front (Han and Ki, ePrint 2019/688).
    /// A rotation key decrypts under the secret rotated back, so that the permutation of the ciphertext comes last.
    ///
    /// The key to the sparse secret lies at `q_0·p_0`, whatever the level of the others: what involves a secret of so small
    /// a weight must not lie at a larger modulus ([`heplan_ir::bootstrap::max_log_sparse`]).
    ///
    /// # Panics
    /// If the level is above the highest, or that of the key to the sparse secret is not 0.
    pub fn evaluation_key(&self, spec: KeySpec, plan: &PlanId) -> SeededKey {
        assert!(spec.kind != KeyKind::ToSparse || spec.level == 0, "the sparse secret lies low");
        let seed = self.key_seed(spec.kind, plan);
        let mask = seed.derive("mask", &[]);
        // `(what is encrypted, what it is encrypted under)`.
        let rotated_back = |by| {
            let inverse = inverse_element(self.context.galois(by), self.context.ring().log_n());
            self.s.automorphism(inverse)
        };
        let basis = self.context.basis_of_key(spec);
        let (mut source, target) = match spec.kind {
            KeyKind::Relinearise => (self.s.mul(&self.s).into_secret(), None),
            KeyKind::Rotate(by) => (self.s.clone(), Some(rotated_back(by))),
            KeyKind::Conjugate => {
                // Conjugation is its own inverse.
                let conjugated = conjugation_element(self.context.ring().log_n());
                (self.s.clone(), Some(self.s.automorphism(conjugated)))
            }
            KeyKind::ToSparse => (self.s.clone(), Some(self.sparse(plan, basis))),
            KeyKind::FromSparse => {
                let by = self.context.turn();
                (self.sparse(plan, basis), (by > 0).then(|| rotated_back(by)))
            }
        };
        let target = target.as_ref().unwrap_or(&self.s);
        source = source.restrict(basis);
        source.mul_residues_assign(&self.context.special_product(basis));
        let digits = (0..self.context.parameters().digits(spec.level))
            .into_par_iter()
            .map(|digit| self.key_digit(&source, target, digit, &seed, &mask))
            .collect();
        SeededKey { kind: spec.kind, level: spec.level, mask, digits }
    }

    /// The ephemeral sparse secret of a plan's bootstrappings, in evaluation form: of weight
    /// [`SPARSE_WEIGHT`], from a seed of its own.
    fn sparse(&self, plan: &PlanId, basis: Basis) -> Poly {
        let seed = self.plan_seed(plan).derive("sparse secret", &[]);
        let mut sparse = sampling::sparse_ternary(self.context.ring(), basis, SPARSE_WEIGHT, &seed);
        sparse.to_evaluation();
        sparse
    }

    /// `-a·target + e`, plus `P·source` at the primes of the digit.
    fn key_digit(
        &self,
        source: &Poly,
        target: &Poly,
        digit: usize,
        seed: &Seed,
        mask: &Seed,
    ) -> Poly {
        let (ring, basis) = (self.context.ring(), source.basis());
        let error = seed.derive("error", &[digit as u64]);
        let mask = SeededKey::digit_seed(mask, digit);
        let mut b = Sample { secret: target, error: &error, mask: &mask }.draw(ring, basis, None);
        let size = self.context.parameters().digit_size();
        b.for_each_limb_mut(|q, prime, limb| {
            if matches!(prime, Prime::Q(i) if i / size == digit) {
                for (x, &y) in limb.iter_mut().zip(source.limb_of(prime)) {
                    *x = q.add(*x, y);
                }
            }
        });
        b
    }

    fn plan_seed(&self, plan: &PlanId) -> Seed {
        let words: Vec<u64> = plan
            .chunks_exact(8)
            .map(|c| c.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
            .collect();
        self.seed.derive("evaluation keys of plan", &words)
    }

    fn key_seed(&self, kind: KeyKind, plan: &PlanId) -> Seed {
        let of_plan = self.plan_seed(plan);
        match kind {
            KeyKind::Relinearise => of_plan.derive("relinearise", &[]),
            KeyKind::Rotate(by) => of_plan.derive("rotate", &[u64::from(by)]),
            KeyKind::Conjugate => of_plan.derive("conjugate", &[]),
            KeyKind::ToSparse => of_plan.derive("to sparse", &[]),
            KeyKind::FromSparse => of_plan.derive("from sparse", &[]),
        }
    }
}

/// The public identity of the key that a seed stands for.
pub fn key_id(seed: &Seed) -> KeyId {
    *seed.derive("key id of streams 2", &[]).as_bytes()
}

/// Standard normal deviates by the method of Box and Muller (1958), from 53-bit uniforms.
fn normal_deviates(randomness: &Seed) -> impl Iterator<Item = f64> + use<> {
    use rand_core::{Rng, SeedableRng};
    let seed = randomness.derive("flooding", &[]);
    let mut stream = rand_chacha::ChaCha20Rng::from_seed(*seed.as_bytes());
    let mut uniform = move || ((stream.next_u64() >> 11) as f64 + 0.5) * 2f64.powi(-53);
    std::iter::repeat_with(move || {
        let radius = (-2.0 * libm::log(uniform())).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * uniform());
        [radius * cos, radius * sin]
    })
    .flatten()
}

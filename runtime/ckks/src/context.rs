//! What all parties to one set of parameters share: the ring, its tables and the encoder. Holds no secret.

use std::sync::Arc;

use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_lattice::galois::{conjugation_element, galois_element};
use heplan_lattice::{Basis, Isa, Ring, RingError};

use crate::encoder::{EncodeError, Encoder, Plaintext};

/// Checked parameters with everything precomputed for them.
pub struct Context {
    parameters: Parameters,
    ring: Arc<Ring>,
    encoder: Encoder,
}

impl Context {
    /// Precomputes tables for a set of parameters.
    ///
    /// # Errors
    /// If the lattice cannot carry a prime; checked parameters do not lead there.
    pub fn new(parameters: &Parameters) -> Result<Arc<Self>, RingError> {
        Self::with_isa(parameters, Isa::detect())
    }

    /// As [`Self::new`], on a given instruction set. Results do not depend on it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_isa(parameters: &Parameters, isa: Isa) -> Result<Arc<Self>, RingError> {
        let ring = Ring::with_isa(parameters.log_n(), parameters.q(), parameters.p(), isa)?;
        let encoder = Encoder::new(parameters.slots());
        Ok(Arc::new(Self { parameters: parameters.clone(), ring, encoder }))
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The ring of all primes.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// A vector of one sample's slots, or of one period of them, as a plaintext that is the same for every sample.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_shared(&self, values: &[f64], scale: &Scale) -> Result<Plaintext, EncodeError> {
        let batch = self.parameters.batch();
        match values {
            // Equal in all slots: no longer vector is needed to say so.
            [_] => self.encoder.encode(values, scale),
            _ if batch == 1 => self.encoder.encode(values, scale),
            _ => {
                let of_all = values.iter().flat_map(|&v| std::iter::repeat_n(v, batch));
                self.encoder.encode(&of_all.collect::<Vec<f64>>(), scale)
            }
        }
    }

    /// The encoder of whole ciphertexts.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The primes of a ciphertext at `level`.
    pub fn basis_q(&self, level: usize) -> Basis {
        Basis::q(level + 1)
    }

    /// The primes of a key switch at `level`: those of the ciphertext and all special ones.
    pub fn basis_qp(&self, level: usize) -> Basis {
        Basis::qp(level + 1, self.parameters.p().len())
    }

    /// The primes of an evaluation key: those of a key switch at its level, but that to the sparse secret, which must not
    /// lie at a larger modulus, has the first ciphertext prime and the first special one only.
    pub fn basis_of_key(&self, spec: KeySpec) -> Basis {
        match spec.kind {
            KeyKind::ToSparse => Basis::qp(1, 1),
            KeyKind::Relinearise
            | KeyKind::Rotate(_)
            | KeyKind::Conjugate
            | KeyKind::FromSparse => self.basis_qp(spec.level),
        }
    }

    /// The product of the special primes of a basis modulo each of its primes; zero at the special ones.
    pub(crate) fn special_product(&self, basis: Basis) -> Vec<u64> {
        self.ring.product_mod(Basis::p(basis.p_limbs()), basis)
    }

    /// The rotation that comes with the switch from the sparse secret; 0 without bootstrapping.
    pub(crate) fn turn(&self) -> u32 {
        self.parameters.bootstrap().map_or(0, |b| b.turn(self.parameters.log_n()))
    }

    /// The Galois element that rotates every sample by `by` of its slots to the left; by all of them it is that of
    /// complex conjugation.
    pub fn galois(&self, by: u32) -> usize {
        if by as usize == self.parameters.width() {
            return conjugation_element(self.parameters.log_n());
        }
        let slots = u64::from(by) * self.parameters.batch() as u64;
        let slots = i64::try_from(slots).expect("a step is below the number of slots");
        galois_element(slots, self.parameters.log_n())
    }
}

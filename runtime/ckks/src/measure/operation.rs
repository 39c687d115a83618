//! What is measured.

use std::fmt;

use super::matrix::Matrix;

/// An operation on fresh operands at the highest level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Forward transform of one limb.
    NttForward,
    /// Inverse transform of one limb.
    NttInverse,
    /// A full vector to a plaintext in evaluation form over all ciphertext primes.
    Encode,
    /// An encoded plaintext to a ciphertext whose uniform half is a seed, under the secret key.
    Encrypt,
    /// A ciphertext to its slots.
    DecryptDecode,
    /// Sum of two ciphertexts.
    Add,
    /// Product with an encoded plaintext.
    MulPlain,
    /// Product of two ciphertexts, relinearised.
    MulRelin,
    /// Division by the last prime.
    Rescale,
    /// Rotation by one slot.
    Rotate,
    /// Rotations of one ciphertext by one to eight slots.
    RotateHoisted8,
    /// Making one rotation key, its uniform half as a seed.
    KeygenGalois,
    /// A matrix times an encrypted vector, rescaled; keys and encoded matrix are ready.
    Linear(Matrix),
}

impl Operation {
    /// Every operation, in the order of a report.
    pub const ALL: [Self; 14] = [
        Self::NttForward,
        Self::NttInverse,
        Self::Encode,
        Self::Encrypt,
        Self::DecryptDecode,
        Self::Add,
        Self::MulPlain,
        Self::MulRelin,
        Self::Rescale,
        Self::Rotate,
        Self::RotateHoisted8,
        Self::KeygenGalois,
        Self::Linear(Matrix::WIDE),
        Self::Linear(Matrix::SQUARE),
    ];

    /// The name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NttForward => "ntt_forward",
            Self::NttInverse => "ntt_inverse",
            Self::Encode => "encode",
            Self::Encrypt => "encrypt",
            Self::DecryptDecode => "decrypt_decode",
            Self::Add => "add",
            Self::MulPlain => "mul_plain",
            Self::MulRelin => "mul_relin",
            Self::Rescale => "rescale",
            Self::Rotate => "rotate",
            Self::RotateHoisted8 => "rotate_hoisted_8",
            Self::KeygenGalois => "keygen_galois",
            Self::Linear(matrix) => matrix.name,
        }
    }

    /// The operation of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }

    /// Whether it is one limb's work, whatever the shape.
    pub const fn is_of_one_limb(self) -> bool {
        matches!(self, Self::NttForward | Self::NttInverse)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

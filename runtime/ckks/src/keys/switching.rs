//! Evaluation keys in their three forms: as they are made, packed as files hold them, and expanded.
//!
//! Packed, a key takes less than half of what it takes expanded: the residues of one half at the width of their primes, and
//! for the other half a seed. Either form serves a key switch; a packed key is unpacked and its uniform half drawn limb by
//! limb, where the switch is about to read them. That costs less than fetching an expanded key that was used long ago
//! from fresh memory, and more than one that is used again and again ([`super::store`] decides).

use std::sync::Arc;

use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_lattice::keyswitch::KeyLimbs;
use heplan_lattice::packed::Limbs;
use heplan_lattice::{Basis, Poly, Prime, Ring, Seed, bits, sampling};
use rayon::prelude::*;

use crate::context::Context;

/// Bytes of the seed at the front of a packed key.
const SEED: usize = 32;

/// Residues that are checked at a time.
const CHECKED: usize = 512;

/// A key whose uniform halves are still a seed: one polynomial per digit over the primes of [`Context::basis_of_key`].
#[derive(Clone, PartialEq)]
pub struct SeededKey {
    /// What it switches.
    pub kind: KeyKind,
    /// The highest level that it serves.
    pub level: usize,
    /// Public seed of the uniform halves.
    pub mask: Seed,
    /// The other halves, in evaluation form.
    pub digits: Vec<Poly>,
}

impl SeededKey {
    /// The seed of the uniform half of one digit.
    pub(crate) fn digit_seed(mask: &Seed, digit: usize) -> Seed {
        mask.derive("digit", &[digit as u64])
    }

    /// The uniform half of one digit.
    fn mask_of(context: &Context, mask: &Seed, digit: usize, basis: Basis) -> Poly {
        sampling::uniform(context.ring(), basis, &Self::digit_seed(mask, digit))
    }

    fn spec(&self) -> KeySpec {
        KeySpec { kind: self.kind, level: self.level }
    }

    /// The key as a file holds it: the seed, then digit by digit and limb by limb the residues of the other half.
    pub(crate) fn packed_bytes(&self) -> Vec<u8> {
        let mut bytes = self.mask.as_bytes().to_vec();
        for digit in &self.digits {
            for (limb, q) in digit.limbs().zip(digit.ring().moduli(digit.basis())) {
                bits::pack(limb, q.bits(), &mut bytes);
            }
        }
        bytes
    }

    /// Packs the key.
    pub fn pack(&self, context: &Context) -> PackedKey {
        PackedKey::new(context, self.spec(), self.packed_bytes()).expect("a key of this context")
    }

    /// Expands the uniform halves.
    pub fn expand(self, context: &Context) -> SwitchingKey {
        let basis = context.basis_of_key(self.spec());
        let mask = |digit| Self::mask_of(context, &self.mask, digit, basis);
        let masks: Vec<Poly> = (0..self.digits.len()).into_par_iter().map(mask).collect();
        let form = Expanded::new(context.ring(), basis, masks.len(), |digit, prime, [b, a]| {
            b.copy_from_slice(self.digits[digit].limb_of(prime));
            a.copy_from_slice(masks[digit].limb_of(prime));
        });
        SwitchingKey { level: self.level, form: Residues::Expanded(form) }
    }
}

/// A key as a file holds it, checked.
pub struct PackedKey {
    level: usize,
    ring: Arc<Ring>,
    basis: Basis,
    /// Seeds of the uniform halves, one per digit.
    seeds: Vec<Seed>,
    bytes: Vec<u8>,
    /// Where each limb of a digit begins within it, and at the end the length of a digit.
    starts: Vec<usize>,
}

impl PackedKey {
    /// Bytes of a packed key.
    pub fn len(context: &Context, spec: KeySpec) -> usize {
        let digit = starts(context.ring(), context.basis_of_key(spec)).pop().unwrap_or(0);
        SEED + digit * context.parameters().digits(spec.level)
    }

    /// Takes the bytes of a key for `spec`; `None` if their number is wrong or one of the residues is none.
    pub(crate) fn new(context: &Context, spec: KeySpec, bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() != Self::len(context, spec) {
            return None;
        }
        let mask = Seed::new(*bytes.first_chunk::<SEED>()?);
        let digits = context.parameters().digits(spec.level);
        let seeds = (0..digits).map(|digit| SeededKey::digit_seed(&mask, digit)).collect();
        let (ring, basis) = (Arc::clone(context.ring()), context.basis_of_key(spec));
        let starts = starts(&ring, basis);
        let key = Self { level: spec.level, ring, basis, seeds, bytes, starts };
        let limbs = (0..digits * basis.len()).into_par_iter();
        limbs.all(|i| key.is_reduced(i / basis.len(), i % basis.len())).then_some(key)
    }

    /// The packed residues of a limb.
    fn limb(&self, digit: usize, limb: usize) -> &[u8] {
        let of_digit = SEED + digit * self.starts[self.basis.len()];
        &self.bytes[of_digit + self.starts[limb]..of_digit + self.starts[limb + 1]]
    }

    fn is_reduced(&self, digit: usize, limb: usize) -> bool {
        let q = self.ring.modulus(self.basis.prime(limb));
        let mut words = [0; CHECKED];
        let run = bits::packed_len(CHECKED, q.bits());
        self.limb(digit, limb).chunks(run).all(|bytes| {
            let words = &mut words[..bytes.len() * 8 / q.bits() as usize];
            bits::unpack(bytes, q.bits(), words);
            words.iter().fold(true, |all, &word| all & (word < q.value()))
        })
    }

    fn expand_limb(&self, digit: usize, prime: Prime, [b, a]: [&mut [u64]; 2]) {
        let limb = self.basis.position(prime).expect("the key has the primes of its operand");
        let q = self.ring.modulus(prime);
        bits::unpack(self.limb(digit, limb), q.bits(), b);
        sampling::uniform_limb(q, prime, &self.seeds[digit], a);
    }

    /// All residues of both halves.
    pub fn expand(&self) -> SwitchingKey {
        let expand = |digit, prime, pair: [&mut [u64]; 2]| self.expand_limb(digit, prime, pair);
        let form = Expanded::new(&self.ring, self.basis, self.seeds.len(), expand);
        SwitchingKey { level: self.level, form: Residues::Expanded(form) }
    }
}

/// All residues of a key, as key switches read them.
struct Expanded {
    basis: Basis,
    /// Per prime `b` and `a` of every digit.
    limbs: Vec<Limbs>,
}

impl Expanded {
    /// Keeps what `expand(digit, prime, [b, a])` writes.
    fn new(
        ring: &Ring,
        basis: Basis,
        digits: usize,
        expand: impl Fn(usize, Prime, [&mut [u64]; 2]) + Sync,
    ) -> Self {
        let at = |i| {
            let prime = basis.prime(i);
            let mut limbs = Limbs::of_keys(ring, prime, 2 * digits);
            let (mut b, mut a) = (vec![0; ring.degree()], vec![0; ring.degree()]);
            for digit in 0..digits {
                expand(digit, prime, [&mut b, &mut a]);
                limbs.store(2 * digit, &b);
                limbs.store(2 * digit + 1, &a);
            }
            limbs
        };
        Self { basis, limbs: (0..basis.len()).into_par_iter().map(at).collect() }
    }
}

/// Where the packed limbs of a polynomial begin, and where the last one ends.
fn starts(ring: &Ring, basis: Basis) -> Vec<usize> {
    let mut starts = vec![0];
    let mut end = 0;
    for q in ring.moduli(basis) {
        end += bits::packed_len(ring.degree(), q.bits());
        starts.push(end);
    }
    starts
}

/// A key ready for use.
pub struct SwitchingKey {
    level: usize,
    form: Residues,
}

enum Residues {
    Packed(PackedKey),
    Expanded(Expanded),
}

impl From<PackedKey> for SwitchingKey {
    fn from(key: PackedKey) -> Self {
        Self { level: key.level, form: Residues::Packed(key) }
    }
}

impl SwitchingKey {
    /// The highest level that it serves.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The expanded form, if that is `wanted` and the key is not in it.
    pub(crate) fn expand_if(&self, wanted: bool) -> Option<Self> {
        match &self.form {
            Residues::Packed(packed) if wanted => Some(packed.expand()),
            _ => None,
        }
    }

    /// Bytes of an expanded key.
    pub fn expanded_bytes(context: &Context, spec: KeySpec) -> usize {
        let (ring, digits) = (context.ring(), context.parameters().digits(spec.level));
        let primes = context.basis_of_key(spec).primes();
        primes.map(|prime| Limbs::bytes_of_keys(ring, prime, 2 * digits)).sum()
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match &self.form {
            Residues::Packed(packed) => packed.bytes.len(),
            Residues::Expanded(key) => key.limbs.iter().map(Limbs::bytes).sum(),
        }
    }
}

impl KeyLimbs for SwitchingKey {
    fn limbs(&self, digit: usize, prime: Prime) -> Option<[&[u64]; 2]> {
        let Residues::Expanded(key) = &self.form else { return None };
        let at = key.basis.position(prime).expect("the key has the primes of its operand");
        Some([0, 1].map(|half| key.limbs[at].at(2 * digit + half)))
    }

    fn expand(&self, digit: usize, prime: Prime, out: [&mut [u64]; 2]) {
        if let Residues::Packed(packed) = &self.form {
            packed.expand_limb(digit, prime, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::SecretKey;
    use heplan_ir::parameters::{Parameters, ParametersLiteral};
    use heplan_ir::primes::near_power;

    #[test]
    fn a_packed_key_expands_to_the_key_that_was_packed() {
        let q = near_power(30, 12).take(2).collect();
        let p = near_power(36, 12).take(1).collect();
        let literal = ParametersLiteral { log_n: 12, q, p, digit_size: 1 };
        let context = Context::new(&Parameters::new(literal).unwrap()).unwrap();
        let secret = SecretKey::from_seed(&context, &Seed::new([1; 32]));
        let spec = KeySpec { kind: KeyKind::Rotate(3), level: 1 };
        let seeded = secret.evaluation_key(spec, &[2; 32]);
        let packed = seeded.pack(&context);
        let from_packed = packed.expand();
        let packed = SwitchingKey::from(packed);
        let expanded = seeded.clone().expand(&context);
        let (mut b, mut a) = (vec![0; 4096], vec![0; 4096]);
        for digit in 0..2 {
            for prime in context.basis_qp(1).primes() {
                let expected = expanded.limbs(digit, prime).unwrap();
                assert_eq!(from_packed.limbs(digit, prime).unwrap(), expected);
                packed.expand(digit, prime, [&mut b, &mut a]);
                let mut kept = Limbs::of_keys(context.ring(), prime, 2);
                kept.store(0, &b);
                kept.store(1, &a);
                assert_eq!([kept.at(0), kept.at(1)], expected);
            }
        }
        let mut bytes = seeded.packed_bytes();
        bytes[40..60].fill(255);
        assert!(PackedKey::new(&context, spec, bytes.clone()).is_none());
        assert!(PackedKey::new(&context, spec, bytes[1..].to_vec()).is_none());
    }
}

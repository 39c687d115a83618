//! Evaluation keys in their three forms: as they are made, packed as files hold them, and expanded.
//!
//! Packed, a key takes less than half of what it takes expanded: the residues of one half at the width of their primes, and
//! for the other half a seed. Either form serves a key switch; a packed key is read where it is, unpacked if the kernels
//! do not take it so, and its uniform half is drawn limb by limb, where the switch is about to read it. That costs less
//! than reading a key anew, and more than one that is used again and again ([`super::store`] decides).

use std::convert::Infallible;
use std::sync::Arc;

use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_lattice::keyswitch::KeyLimbs;
use heplan_lattice::packed::{Limbs, NarrowPolys};
use heplan_lattice::{Basis, Modulus, Poly, Prime, Ring, Seed, bits, sampling};
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
        PackedKey::new(context, self.spec(), &self.packed_bytes()).expect("a key of this context")
    }

    /// Expands the uniform halves.
    pub fn expand(self, context: &Context) -> SwitchingKey {
        let basis = context.basis_of_key(self.spec());
        let mask = |digit| Self::mask_of(context, &self.mask, digit, basis);
        let masks: Vec<Poly> = (0..self.digits.len()).into_par_iter().map(mask).collect();
        let form = Expanded::new(context.ring(), basis, masks.len(), |digit, prime, limbs, _| {
            limbs.store(2 * digit, self.digits[digit].limb_of(prime));
            limbs.store(2 * digit + 1, masks[digit].limb_of(prime));
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
    /// The other halves.
    digits: NarrowPolys,
}

impl PackedKey {
    /// Bytes of a packed key.
    pub fn len(context: &Context, spec: KeySpec) -> usize {
        let digits = context.parameters().digits(spec.level);
        SEED + NarrowPolys::packed_bytes(context.ring(), context.basis_of_key(spec), digits)
    }

    /// Takes the bytes of a key for `spec`; `None` if their number is wrong or one of the residues is none.
    pub(crate) fn new(context: &Context, spec: KeySpec, bytes: &[u8]) -> Option<Self> {
        let whole = bytes.len() == Self::len(context, spec);
        let read = |lengths: &[usize], take: &mut dyn FnMut(&[u8])| {
            let mut rest = bytes;
            for &length in lengths {
                let (piece, after) = rest.split_at(length);
                take(piece);
                rest = after;
            }
            Ok::<(), Infallible>(())
        };
        whole.then(|| Self::read(context, spec, read).ok().flatten()).flatten()
    }

    /// A key for `spec` from its pieces, the seed and every limb, of lengths that `read` is told; `None` if one of the
    /// residues is none.
    ///
    /// # Errors
    /// That of `read`.
    pub(crate) fn read<E>(
        context: &Context,
        spec: KeySpec,
        read: impl FnOnce(&[usize], &mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let (ring, basis) = (Arc::clone(context.ring()), context.basis_of_key(spec));
        let count = context.parameters().digits(spec.level);
        let mut digits = NarrowPolys::new(&ring, basis, count);
        let limbs = (0..count * basis.len()).map(|i| digits.limb_bytes(i % basis.len()));
        let lengths: Vec<usize> = [SEED].into_iter().chain(limbs).collect();
        let (mut seeds, mut at, mut sound) = (Vec::new(), 0, true);
        read(&lengths, &mut |piece| {
            if seeds.is_empty() {
                let mask = piece.first_chunk::<SEED>().map(|&seed| Seed::new(seed));
                let of_digit = |digit| Some(SeededKey::digit_seed(mask.as_ref()?, digit));
                seeds = (0..count).filter_map(of_digit).collect();
                return;
            }
            let (digit, limb) = (at / basis.len(), at % basis.len());
            sound &= is_reduced(ring.modulus(basis.prime(limb)), piece);
            digits.fill(digit, limb, piece);
            at += 1;
        })?;
        Ok(sound.then_some(Self { level: spec.level, ring, basis, seeds, digits }))
    }

    /// From now on it counts as one that is read once: its memory does not wait for other keys.
    pub(crate) fn unpool(&mut self) {
        self.digits.unpool();
    }

    /// Where the limb of a prime is.
    fn limb(&self, prime: Prime) -> usize {
        self.basis.position(prime).expect("the key has the primes of its operand")
    }

    fn expand_half(&self, digit: usize, prime: Prime, half: usize, out: &mut [u64]) {
        match half {
            0 => self.digits.unpack(digit, self.limb(prime), out),
            _ => {
                let q = self.ring.modulus(prime);
                sampling::uniform_limb(q, prime, &self.seeds[digit], out);
            }
        }
    }

    /// The other half of a digit, if it is as it is used.
    fn narrow(&self, digit: usize, prime: Prime) -> Option<&[u64]> {
        let narrow = Limbs::keys_are_narrow(&self.ring, prime);
        narrow.then(|| self.digits.at(digit, self.limb(prime)))
    }

    /// All residues of both halves.
    pub fn expand(&self) -> SwitchingKey {
        self.expand_part(self.level, self.basis, self.seeds.len())
    }

    /// The residues that operands at a level need, which are those of a basis and so many digits.
    fn expand_part(&self, level: usize, basis: Basis, digits: usize) -> SwitchingKey {
        let form = Expanded::new(&self.ring, basis, digits, |digit, prime, limbs, spare| {
            match self.narrow(digit, prime) {
                Some(narrow) => limbs.copy(2 * digit, narrow),
                None => {
                    self.expand_half(digit, prime, 0, spare);
                    limbs.store(2 * digit, spare);
                }
            }
            self.expand_half(digit, prime, 1, spare);
            limbs.store(2 * digit + 1, spare);
        });
        SwitchingKey { level, form: Residues::Expanded(form) }
    }
}

/// Whether packed numbers are residues.
fn is_reduced(q: Modulus, packed: &[u8]) -> bool {
    let mut words = [0; CHECKED];
    packed.chunks(bits::packed_len(CHECKED, q.bits())).all(|bytes| {
        let words = &mut words[..bytes.len() * 8 / q.bits() as usize];
        bits::unpack(bytes, q.bits(), words);
        words.iter().fold(true, |all, &word| all & (word < q.value()))
    })
}

/// All residues of a key, as key switches read them.
struct Expanded {
    basis: Basis,
    /// Per prime `b` and `a` of every digit.
    limbs: Vec<Limbs>,
}

impl Expanded {
    /// Keeps what `expand(digit, prime, limbs, spare)` puts into the two limbs of a digit; `spare` is room for one.
    fn new(
        ring: &Ring,
        basis: Basis,
        digits: usize,
        expand: impl Fn(usize, Prime, &mut Limbs, &mut [u64]) + Sync,
    ) -> Self {
        let at = |i| {
            let prime = basis.prime(i);
            let mut limbs = Limbs::of_keys(ring, prime, 2 * digits);
            let mut spare = vec![0; ring.degree()];
            (0..digits).for_each(|digit| expand(digit, prime, &mut limbs, &mut spare));
            limbs
        };
        Self { basis, limbs: (0..basis.len()).into_par_iter().map(at).collect() }
    }
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

    /// The expanded form, if the key is not in it.
    pub(crate) fn expanded(&self) -> Option<Self> {
        match &self.form {
            Residues::Packed(packed) => Some(packed.expand()),
            Residues::Expanded(_) => None,
        }
    }

    /// The expanded form of what operands at a level need of it, if the key is not in that form.
    pub(crate) fn expanded_for(&self, context: &Context, level: usize) -> Option<Self> {
        match &self.form {
            Residues::Packed(packed) => {
                let digits = context.parameters().digits(level);
                Some(packed.expand_part(level, context.basis_qp(level), digits))
            }
            Residues::Expanded(_) => None,
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
            Residues::Packed(packed) => packed.digits.bytes(),
            Residues::Expanded(key) => key.limbs.iter().map(Limbs::bytes).sum(),
        }
    }
}

impl KeyLimbs for SwitchingKey {
    fn limbs(&self, digit: usize, prime: Prime) -> [Option<&[u64]>; 2] {
        let key = match &self.form {
            Residues::Packed(packed) => return [packed.narrow(digit, prime), None],
            Residues::Expanded(key) => key,
        };
        let at = key.basis.position(prime).expect("the key has the primes of its operand");
        [0, 1].map(|half| Some(key.limbs[at].at(2 * digit + half)))
    }

    fn expand(&self, digit: usize, prime: Prime, half: usize, out: &mut [u64]) {
        if let Residues::Packed(packed) = &self.form {
            packed.expand_half(digit, prime, half, out);
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
        let packed = SwitchingKey::from(seeded.pack(&context));
        let expanded = seeded.clone().expand(&context);
        let from_packed = packed.expanded().unwrap();
        let lower = packed.expanded_for(&context, 0).unwrap();
        assert!(from_packed.expanded().is_none() && lower.bytes() < expanded.bytes() / 2);
        let mut residues = vec![0; 4096];
        for (digit, prime) in (0..2).flat_map(|d| context.basis_qp(1).primes().map(move |p| (d, p)))
        {
            // What lies behind the residues of a limb is anything.
            let width = context.ring().modulus(prime).bits() as usize;
            let used = |limb: Option<&[u64]>| limb.unwrap()[..4096 / 64 * width].to_vec();
            let expected = expanded.limbs(digit, prime).map(used);
            assert_eq!(from_packed.limbs(digit, prime).map(used), expected);
            if digit == 0 && prime != Prime::Q(1) {
                assert_eq!(lower.limbs(digit, prime).map(used), expected);
            }
            for (half, there) in packed.limbs(digit, prime).into_iter().enumerate() {
                packed.expand(digit, prime, half, &mut residues);
                let mut kept = Limbs::of_keys(context.ring(), prime, 1);
                kept.store(0, &residues);
                assert_eq!(used(Some(kept.at(0))), expected[half]);
                assert!(there.is_none_or(|limb| used(Some(limb)) == expected[half]));
            }
        }
        let mut bytes = seeded.packed_bytes();
        bytes[40..60].fill(255);
        assert!(PackedKey::new(&context, spec, &bytes).is_none());
        assert!(PackedKey::new(&context, spec, &bytes[1..]).is_none());
    }
}

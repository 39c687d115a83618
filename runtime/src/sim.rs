//! The backend that simulates the scheme: plain numbers with the noise, the checks and the limits
//! of real ciphertexts.
//!
//! Every instruction is checked as the encrypted backend would (types, keys and the levels that
//! they reach), every source of noise of the [model](crate::noise) is drawn and added, and a
//! message that no longer fits its modulus is an error: on real ciphertexts it would wrap around
//! into a wrong answer that nothing announces.
//! Partial sums are exempt: what linear operations wrap around, those that complete the sum wrap
//! back, since residues know no size. So sums, rotations and linear maps are checked where a
//! product, a refresh or decryption reads them.
//!
//! **Determinism.** Each ciphertext has a seed, which is a hash of how it came to be; its noise is
//! drawn from that seed. So equal operations on equal operands give equal noise, as they do on
//! ciphertexts, and neither the order of execution nor the number of threads matters.
//! Samples are made by exact arithmetic and square roots only, so that every machine gets the same
//! bits.

mod draw;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heplan_ir::ckks::CtType;
use heplan_ir::entity::ConstId;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_ir::transform::LinearTransform;
use pulp::Arch;
use thiserror::Error;

use crate::backend::{Backend, PlainRef};
use crate::clear::{Clear, Slots};
use crate::noise::{NoiseModel, Variance};
use crate::typing::TypeError;
use draw::{LargestMagnitude, Normal, Shake};

/// Bits that a message must stay below its modulus: one for the sign, one to spare.
const HEADROOM: f64 = 2.0;

/// Bits that a message must stay below the modulus where it is refreshed: the sine that stands for the reduction modulo
/// `q_0` then errs by less than `(2π/2^6)²/6`, or 9 bits below the message.
const BOOTSTRAP_HEADROOM: f64 = 6.0;

/// Why the simulation refuses an instruction.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SimError {
    /// The operands do not fit the instruction.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The plan's keys do not contain one that is needed.
    #[error("no {} key is in the plan", key_name(*.0))]
    MissingKey(KeyKind),
    /// A key that does not reach the level where it is used.
    #[error("the {} key reaches level {reaches}, it is used at level {level}", key_name(*.kind))]
    KeyLevel {
        /// Which key.
        kind: KeyKind,
        /// Where it is used.
        level: usize,
        /// The highest level it was made for.
        reaches: usize,
    },
    /// The message does not fit the modulus.
    #[error(
        "overflow by {excess:.1} bits: values up to 2^{value:.1} at scale 2^{scale:.1} need more than the modulus of {modulus:.1} bits at level {level} holds"
    )]
    Overflow {
        /// Bits too many.
        excess: f64,
        /// Base-2 logarithm of the largest magnitude in a slot.
        value: f64,
        /// Base-2 logarithm of the scale.
        scale: f64,
        /// Base-2 logarithm of the modulus.
        modulus: f64,
        /// The level.
        level: usize,
    },
    /// A slot that is infinite or not a number.
    #[error("a slot holds {0}")]
    NotFinite(f64),
}

fn key_name(kind: KeyKind) -> String {
    match kind {
        KeyKind::Relinearise => "relinearisation".into(),
        KeyKind::Rotate(by) => format!("rotation by {by}"),
        KeyKind::Conjugate => "conjugation".into(),
        KeyKind::ToSparse => "switch to the sparse secret".into(),
        KeyKind::FromSparse => "switch from the sparse secret".into(),
    }
}

/// A simulated ciphertext.
#[derive(Clone, Debug)]
pub struct SimCt {
    /// The slots, noise included, and the type.
    slots: Slots,
    /// Mean variance of the noise in a slot, by the model.
    variance: f64,
    /// Names how the ciphertext came to be.
    seed: [u8; 32],
}

impl SimCt {
    /// The slots as decryption would show them.
    pub fn values(&self) -> &[f64] {
        &self.slots.values
    }

    /// Base-2 logarithm of the standard deviation that the model predicts for the noise of a slot,
    /// from the variances alone (`-∞` without noise).
    ///
    /// It treats different ciphertexts as independent, which sums that meet the same noise twice
    /// are not; the difference from a run on the clear backend is the better estimate where there
    /// is one.
    pub fn noise_log2(&self) -> f64 {
        self.variance.log2() / 2.0
    }
}

/// The simulating backend.
#[derive(Clone, Debug)]
pub struct Sim {
    parameters: Parameters,
    clear: Clear,
    model: NoiseModel,
    keys: BTreeMap<KeyKind, usize>,
    /// `w` of the noise model for every slot: `|s(ζ)|²` over its mean.
    secret: Vec<f64>,
    seed: [u8; 32],
}

impl Sim {
    /// A backend with the keys of a plan; `seed` chooses the secret and all noise.
    pub fn new(parameters: &Parameters, keys: &[KeySpec], seed: u64) -> Self {
        let seed = derive("secret", &[], &[seed]);
        let mut normal = Normal::new(seed);
        let secret = (0..parameters.width())
            .map(|_| (normal.sample().powi(2) + normal.sample().powi(2)) / 2.0)
            .collect();
        Self {
            parameters: parameters.clone(),
            clear: Clear::new(parameters),
            model: NoiseModel::new(parameters),
            keys: keys.iter().map(|k| (k.kind, k.level)).collect(),
            secret,
            seed,
        }
    }

    /// A fresh ciphertext; `nonce` tells encryptions apart.
    ///
    /// # Errors
    /// If `values` has not `width` finite numbers or overflows, or the level is above the chain.
    pub fn encrypt(&self, values: Vec<f64>, ty: CtType, nonce: u64) -> Result<SimCt, SimError> {
        let slots = self.clear.encrypt(values, ty)?;
        let seed = derive("fresh", &[&self.seed], &[nonce]);
        let noise = self.in_slots(&self.model.fresh(), &slots.ty.scale);
        self.finish(slots, 0.0, seed, Some(noise))
    }

    /// A variance in integer units as one in slots of the given scale.
    fn in_slots(&self, variance: &Variance, scale: &Scale) -> Variance {
        let scale = scale.to_f64();
        variance.times(1.0 / scale / scale)
    }

    fn key(&self, kind: KeyKind, level: usize) -> Result<(), SimError> {
        match self.keys.get(&kind) {
            None => Err(SimError::MissingKey(kind)),
            Some(&reaches) if reaches < level => Err(SimError::KeyLevel { kind, level, reaches }),
            Some(_) => Ok(()),
        }
    }

    /// Adds noise drawn from `seed` and checks that the message fits its modulus.
    fn finish(
        &self,
        slots: Slots,
        variance: f64,
        seed: [u8; 32],
        noise: Option<Variance>,
    ) -> Result<SimCt, SimError> {
        let x = self.shaken(slots, variance, seed, noise);
        self.fits(&x.slots)?;
        Ok(x)
    }

    /// Adds noise drawn from `seed`.
    fn shaken(
        &self,
        mut slots: Slots,
        variance: f64,
        seed: [u8; 32],
        noise: Option<Variance>,
    ) -> SimCt {
        if let Some(noise) = &noise {
            let (slots, variance) = (&mut slots.values[..], |slot| noise.at(self.secret[slot]));
            Arch::new().dispatch(Shake { normal: Normal::new(seed), slots, variance });
        }
        SimCt { slots, variance: variance + noise.map_or(0.0, |v| v.mean()), seed }
    }

    /// The slots as decryption would show them.
    ///
    /// # Errors
    /// If the message does not fit its modulus.
    pub fn decrypt(&self, x: &SimCt) -> Result<Vec<f64>, SimError> {
        self.fits(&x.slots)?;
        Ok(x.slots.values.clone())
    }

    /// That the message stays clear of the modulus.
    ///
    /// A coefficient is at most the mean magnitude of the slots times the scale; the largest
    /// magnitude stands in for the mean, which leaves room for inputs other than those simulated.
    fn fits(&self, slots: &Slots) -> Result<(), SimError> {
        self.fits_below(slots, HEADROOM)
    }

    /// That the message stays so many bits below the modulus.
    fn fits_below(&self, slots: &Slots, headroom: f64) -> Result<(), SimError> {
        let largest = Arch::new().dispatch(LargestMagnitude(&slots.values));
        if !largest.is_finite() {
            let bad = slots.values.iter().find(|v| !v.is_finite());
            return Err(SimError::NotFinite(bad.copied().unwrap_or(largest)));
        }
        let (value, scale) = (largest.log2(), slots.ty.scale.log2());
        let modulus = self.parameters.log_q_at(slots.ty.level);
        let excess = value + scale + headroom - modulus;
        if excess > 0.0 {
            let level = slots.ty.level;
            return Err(SimError::Overflow { excess, value, scale, modulus, level });
        }
        Ok(())
    }

    /// A constant as its encoding at `scale` has it: rounded to a multiple of `1/scale`.
    fn rounded(value: f64, scale: &Scale) -> f64 {
        let scale = scale.to_f64();
        (value * scale).round() / scale
    }

    /// Noise of a linear map's result `output`, beside that of its operands: per slot below the
    /// period, and on average over the operands' own noise.
    fn linear_noise(
        &self,
        xs: &[&SimCt],
        transform: &LinearTransform,
        scales: &[Scale],
        ty: &CtType,
    ) -> Vec<LinearNoise> {
        let hoisted = self.model.switch_hoisted(xs[0].slots.ty.level);
        let operands: Vec<Operand> = xs
            .iter()
            .zip(scales)
            .map(|(x, scale)| Operand {
                baby: self.in_slots(&hoisted, &x.slots.ty.scale).mean(),
                encoding: mean_square(&x.slots.values) * self.model.encoding()
                    / scale.to_f64().powi(2),
                variance: x.variance,
            })
            .collect();
        let mut out = vec![LinearNoise::new(transform.period); transform.outputs];
        for d in &transform.diagonals {
            let (noise, operand) = (&mut out[d.output as usize], &operands[d.input as usize]);
            noise.added.plain += operand.encoding;
            let mut squares = 0.0;
            let baby = if d.offset == 0 { 0.0 } else { operand.baby };
            for (&s, &v) in d.slots.iter().zip(&d.values) {
                let square = f64::from(v) * f64::from(v);
                squares += square;
                noise.babies[s as usize] += square * baby;
            }
            noise.carried += squares * operand.variance / transform.period as f64;
        }
        if !transform.rotates() {
            // Nothing stays extended: every result that is not an exact zero is rescaled.
            let rounding = self.in_slots(&self.model.rounding(1), &ty.scale);
            let computed: BTreeSet<u32> = transform.diagonals.iter().map(|d| d.output).collect();
            for output in computed {
                let noise = &mut out[output as usize];
                noise.added = noise.added.plus(&rounding);
            }
        }
        out
    }
}

/// One operand of a linear map, as far as noise goes, in slot units.
struct Operand {
    /// Variance that a baby step adds to it.
    baby: f64,
    /// Variance that the rounding of one diagonal adds to its product.
    encoding: f64,
    /// Its own variance.
    variance: f64,
}

/// Noise of one result of a linear map, in slot units.
#[derive(Clone)]
struct LinearNoise {
    /// What the baby steps' key switches leave in each slot below the period: different diagonals
    /// bring different samples, so variances add.
    babies: Vec<f64>,
    /// What diagonals' rounding, and a division where one follows at once, add to every slot.
    added: Variance,
    /// Mean variance that comes from the operands' noise, which their slots already contain.
    carried: f64,
}

impl LinearNoise {
    fn new(period: usize) -> Self {
        Self { babies: vec![0.0; period], added: Variance::default(), carried: 0.0 }
    }

    /// Mean variance over the slots.
    fn mean(&self) -> f64 {
        self.added.mean() + self.babies.iter().sum::<f64>() / self.babies.len() as f64
    }
}

impl Backend for Sim {
    type Ct = SimCt;
    type Error = SimError;

    fn ct_type(&self, x: &SimCt) -> CtType {
        x.slots.ty.clone()
    }

    fn add(&self, a: &SimCt, b: &SimCt) -> Result<SimCt, SimError> {
        let slots = self.clear.add(&a.slots, &b.slots)?;
        let same = if a.seed == b.seed { 2.0 } else { 1.0 };
        let variance = same * (a.variance + b.variance);
        Ok(self.shaken(slots, variance, derive("add", &[&a.seed, &b.seed], &[]), None))
    }

    fn sub(&self, a: &SimCt, b: &SimCt) -> Result<SimCt, SimError> {
        let slots = self.clear.sub(&a.slots, &b.slots)?;
        let same = if a.seed == b.seed { 0.0 } else { 1.0 };
        let variance = same * (a.variance + b.variance);
        Ok(self.shaken(slots, variance, derive("sub", &[&a.seed, &b.seed], &[]), None))
    }

    fn add_plain(&self, x: &SimCt, plain: PlainRef<'_>) -> Result<SimCt, SimError> {
        let seed = derive("add_plain", &[&x.seed], &fingerprint(plain));
        let scale = &x.slots.ty.scale;
        let (plain, noise) = match plain {
            PlainRef::Scalar(c) => (PlainRef::Scalar(Self::rounded(c, scale)), None),
            PlainRef::Vector(_) => {
                let plain_variance = self.model.encoding() / scale.to_f64().powi(2);
                (plain, Some(Variance { plain: plain_variance, ..Variance::default() }))
            }
        };
        self.finish(self.clear.add_plain(&x.slots, plain)?, x.variance, seed, noise)
    }

    fn mul_plain(&self, x: &SimCt, plain: PlainRef<'_>, scale: &Scale) -> Result<SimCt, SimError> {
        let seed = derive("mul_plain", &[&x.seed], &fingerprint(plain));
        let (plain, square, noise) = match plain {
            PlainRef::Scalar(c) => {
                let c = Self::rounded(c, scale);
                (PlainRef::Scalar(c), c * c, None)
            }
            PlainRef::Vector(v) => {
                let rounding = self.model.encoding() / scale.to_f64().powi(2);
                let plain_variance = rounding * mean_square(&x.slots.values);
                let noise = Variance { plain: plain_variance, ..Variance::default() };
                (plain, mean_square(v), Some(noise))
            }
        };
        let slots = self.clear.mul_plain(&x.slots, plain, scale)?;
        self.finish(slots, square * x.variance, seed, noise)
    }

    fn mul(&self, a: &SimCt, b: &SimCt) -> Result<SimCt, SimError> {
        let slots = self.clear.mul(&a.slots, &b.slots)?;
        let (x, y) = (mean_square(&a.slots.values), mean_square(&b.slots.values));
        let variance = if a.seed == b.seed {
            4.0 * x * a.variance + 3.0 * a.variance * a.variance
        } else {
            x * b.variance + y * a.variance + a.variance * b.variance
        };
        self.finish(slots, variance, derive("mul", &[&a.seed, &b.seed], &[]), None)
    }

    fn relinearise(&self, x: &SimCt) -> Result<SimCt, SimError> {
        let slots = self.clear.relinearise(&x.slots)?;
        self.key(KeyKind::Relinearise, slots.ty.level)?;
        let noise = self.in_slots(&self.model.switch(slots.ty.level), &slots.ty.scale);
        self.finish(slots, x.variance, derive("relinearise", &[&x.seed], &[]), Some(noise))
    }

    fn rescale(&self, x: &SimCt) -> Result<SimCt, SimError> {
        let slots = self.clear.rescale(&x.slots)?;
        let noise = self.in_slots(&self.model.rounding(slots.ty.degree), &slots.ty.scale);
        self.finish(slots, x.variance, derive("rescale", &[&x.seed], &[]), Some(noise))
    }

    fn mod_down(&self, x: &SimCt) -> Result<SimCt, SimError> {
        let slots = self.clear.mod_down(&x.slots)?;
        let noise = self.in_slots(&self.model.rounding(1), &slots.ty.scale);
        Ok(self.shaken(slots, x.variance, derive("mod_down", &[&x.seed], &[]), Some(noise)))
    }

    fn drop_level(&self, x: &SimCt, level: usize) -> Result<SimCt, SimError> {
        let slots = self.clear.drop_level(&x.slots, level)?;
        // The same message with the same noise: the seed stays.
        self.finish(slots, x.variance, x.seed, None)
    }

    fn bootstrap(&self, x: &SimCt, scale: &Scale) -> Result<SimCt, SimError> {
        let slots = self.clear.bootstrap(&x.slots, scale)?;
        for KeySpec { kind, level } in self.parameters.bootstrap_keys() {
            self.key(kind, level)?;
        }
        self.fits_below(&x.slots, BOOTSTRAP_HEADROOM)?;
        let noise = self.in_slots(&self.model.bootstrap(), &x.slots.ty.scale);
        self.finish(slots, x.variance, derive("bootstrap", &[&x.seed], &[]), Some(noise))
    }

    fn rotate(&self, x: &SimCt, by: u32) -> Result<SimCt, SimError> {
        let slots = self.clear.rotate(&x.slots, by)?;
        self.key(KeyKind::rotation(by, self.parameters.width()), slots.ty.level)?;
        // Of an extended operand one polynomial is rounded before the switch instead of two after it.
        let noise = self.in_slots(&self.model.switch(slots.ty.level), &slots.ty.scale);
        let seed = derive("rotate", &[&x.seed], &[u64::from(by)]);
        Ok(self.shaken(slots, x.variance, seed, Some(noise)))
    }

    fn linear(
        &self,
        xs: &[&SimCt],
        transform: &Arc<LinearTransform>,
        id: ConstId,
        scales: &[Scale],
    ) -> Result<Vec<SimCt>, SimError> {
        let slots: Vec<&Slots> = xs.iter().map(|x| &x.slots).collect();
        let results = self.clear.linear(&slots, transform, id, scales)?;
        for step in transform.steps() {
            self.key(KeyKind::Rotate(step), xs[0].slots.ty.level)?;
        }
        let seeds: Vec<&[u8; 32]> = xs.iter().map(|x| &x.seed).collect();
        let finish = |(output, (mut slots, noise)): (usize, (Slots, LinearNoise))| {
            let words = [id.index() as u64, output as u64];
            let seed = derive("linear", &seeds, &words);
            // A power of two, as every period that folds leave.
            let below_period = noise.babies.len() - 1;
            let variance =
                |slot| noise.babies[slot & below_period] + noise.added.at(self.secret[slot]);
            let (normal, values) = (Normal::new(seed), &mut slots.values[..]);
            Arch::new().dispatch(Shake { normal, slots: values, variance });
            self.shaken(slots, noise.carried + noise.mean(), seed, None)
        };
        let Some(ty) = results.first().map(|r| r.ty.clone()) else { return Ok(Vec::new()) };
        let noises = self.linear_noise(xs, transform, scales, &ty);
        Ok(results.into_iter().zip(noises).enumerate().map(finish).collect())
    }
}

/// The seed of what an operation makes of its operands.
fn derive(operation: &str, operands: &[&[u8; 32]], words: &[u64]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(operation.as_bytes());
    operands.iter().for_each(|seed| {
        hasher.update(*seed);
    });
    // All at once: a long text is hashed by vector instructions.
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    hasher.update(&bytes);
    *hasher.finalize().as_bytes()
}

/// A few words that tell plaintext operands apart.
fn fingerprint(plain: PlainRef<'_>) -> Vec<u64> {
    match plain {
        PlainRef::Scalar(c) => vec![c.to_bits()],
        PlainRef::Vector(v) => v.iter().map(|c| c.to_bits()).collect(),
    }
}

fn mean_square(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>() / values.len().max(1) as f64
}

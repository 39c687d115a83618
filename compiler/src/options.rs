//! What the user can ask of a compilation.

use crate::cost::Costs;

/// The largest error of outputs unless another is asked for.
pub const MAX_ERROR: f64 = 0.004;
/// The same for outputs that look like class scores (a few elements of which one stands out), where
/// agreement decides and the error is a second guard.
pub const MAX_ERROR_OF_SCORES: f64 = 0.02;
/// The same where trees compare: whatever the degree, data at a threshold is answered between both
/// sides.
pub const MAX_ERROR_OF_COMPARISONS: f64 = 0.05;
/// The bits that noise must leave of an output unless others are asked for.
pub const PRECISION_BITS: f64 = 11.0;
/// The same for [`Objective::Memory`]: fewer keys are more rotations, which are more noise. Its
/// largest error is then a fifth of a per cent of the output's range.
pub const PRECISION_BITS_OF_SMALL_KEYS: f64 = 9.0;

/// Options of [`compile`](crate::pipeline::compile).
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Smallest share of calibration samples whose largest score the plan must find where the
    /// float model finds it (classifiers only).
    pub min_agreement: f64,
    /// Largest root mean square error of the outputs that approximation may cause, relative to the
    /// range of the outputs; [`MAX_ERROR`], [`MAX_ERROR_OF_SCORES`] or
    /// [`MAX_ERROR_OF_COMPARISONS`] when absent.
    pub max_error: Option<f64>,
    /// Bits that noise must leave of an output, relative to the output's range; [`PRECISION_BITS`]
    /// or [`PRECISION_BITS_OF_SMALL_KEYS`] when absent.
    pub precision_bits: Option<f64>,
    /// Forces this degree on every approximated function.
    pub degree: Option<usize>,
    /// How the range of a function is taken from calibration.
    pub domain: Domain,
    /// Share of a range's half-width that is added on either side.
    pub margin: f64,
    /// How polynomials are fitted.
    pub method: Method,
    /// Waterline scale in bits; chosen by the compiler when absent.
    pub scale_bits: Option<u32>,
    /// Ring dimension as a base-2 logarithm; chosen by the compiler when absent.
    pub log_n: Option<u32>,
    /// What a plan is to be best at.
    pub objective: Objective,
    /// How many samples share a ciphertext, rounded up to a power of two; when absent one, or as
    /// many as [`Objective::Throughput`] finds best.
    pub batch: Option<usize>,
    /// The most that all evaluation keys may take, in bytes.
    pub max_key_bytes: Option<u64>,
    /// Whether the report says what next-best layouts would have cost, and how far the chosen ones
    /// are from the least possible; no plan depends on it.
    pub explain: bool,
    /// What operations cost; by default the stored costs, so that every machine makes the same plan.
    pub costs: Costs,
}

/// What a plan is to be best at, among those that reach what else is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// The time of one run, with a moderate price for keys.
    Latency,
    /// Small keys, at no more than twice the time.
    Memory,
    /// The time of one sample, where many share a run.
    Throughput,
}

/// How ranges come from calibration values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// From the smallest to the largest value.
    MinMax,
    /// The mean, plus and minus this many standard deviations.
    MeanStd(f64),
}

/// How a polynomial is fitted to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Least squares, weighted by the density of the calibration values, with a guard on the whole
    /// range.
    LeastSquares,
    /// The least largest error on the range.
    Minimax,
}

impl Options {
    /// What `heplan compile` uses when nothing is asked for.
    pub fn recommended() -> Self {
        Self {
            min_agreement: 0.99,
            max_error: None,
            precision_bits: None,
            degree: None,
            domain: Domain::MinMax,
            margin: 0.1,
            method: Method::LeastSquares,
            scale_bits: None,
            log_n: None,
            objective: Objective::Latency,
            batch: None,
            max_key_bytes: None,
            explain: false,
            costs: Costs::default(),
        }
    }

    /// Bits that noise must leave of an output: those asked for, or those that suit the objective.
    pub fn precision(&self) -> f64 {
        let usual = match self.objective {
            Objective::Latency | Objective::Throughput => PRECISION_BITS,
            Objective::Memory => PRECISION_BITS_OF_SMALL_KEYS,
        };
        self.precision_bits.unwrap_or(usual)
    }

    /// How many bits below the error of approximation the largest error of noise stays. The noise of
    /// a sample near the ends of its windows, where polynomials are steep, is several times that of
    /// the others: it is kept from view, unless keys are to be as small as may be. There it may be
    /// as loud.
    pub(crate) fn noise_below_bits(&self) -> f64 {
        match self.objective {
            Objective::Latency | Objective::Throughput => 1.5,
            Objective::Memory => 0.0,
        }
    }
}

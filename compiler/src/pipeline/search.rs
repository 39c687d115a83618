//! The search over rings and scales: the cheapest secure parameters that carry the computation
//! with the precision asked for.
//!
//! For every ring the layouts are chosen and their cost estimated; rings are tried in the order
//! of that cost. Within a ring, precision grows by about one bit per bit of scale, so one
//! simulation at the largest scale that fits tells whether the ring can do it at all, and how far
//! the scale can come down: smaller primes leave room for larger digits, and make smaller keys.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::parameters::{LOG_N, Parameters};
use heplan_ir::plan::Plan;
use heplan_ir::{ckks, slots};

use super::CompileError;
use super::observer::{Observer, Stage};
use super::tensors::Real;
use crate::cost::{self, Cost, Costs};
use crate::judge::{Judge, Refusal, Tensors};
use crate::options::Options;
use crate::passes;
use crate::report::Quality;

/// Waterline scales that are tried, in bits.
const SCALES: std::ops::RangeInclusive<u32> = 20..=45;
/// Slots hold numbers of magnitude about one; calibration does not see every input, so they may
/// grow by this many bits before they leave the modulus.
const HEADROOM_BITS: u32 = 3;
/// Samples that precision is measured on during the search.
const PROBES: usize = 4;
/// Bits that a probe must show beyond those asked for: the other samples may be worse.
const RESERVE_BITS: f64 = 1.5;

/// A plan under the parameters that were chosen.
pub(super) struct Lowered {
    pub(super) plan: Plan,
    pub(super) cost: Cost,
    pub(super) scale_bits: u32,
}

/// A plan with the precision that simulation found.
struct Probed {
    lowered: Lowered,
    bits: f64,
}

/// Finds the cheapest plan for `real` whose noise leaves `precision_bits`.
pub(super) fn search(
    real: &Real,
    precision_bits: f64,
    options: &Options,
    judge: &dyn Judge,
    observer: &mut dyn Observer,
) -> Result<Lowered, CompileError> {
    let depth = real.depth();
    let mut rings: Vec<(f64, u32)> = LOG_N
        .filter(|&n| options.log_n.is_none_or(|wish| wish == n))
        .filter(|&n| scales(n, depth, options).next().is_some())
        .map(|n| {
            observer.progress(&format!("laying out for ring dimension 2^{n}"));
            let width = 1usize << (n - 1);
            let ntt = f64::from(n) * width as f64;
            (passes::slots::estimate(&real.graph, width) * ntt, n)
        })
        .take(3)
        .collect();
    if rings.is_empty() {
        return Err(too_deep(depth, options).into());
    }
    rings.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut best: Option<(u32, f64)> = None;
    for (_, log_n) in rings {
        let ring = Ring { real, log_n, depth, options, judge };
        match ring.search(precision_bits, observer)? {
            Ok(lowered) => return Ok(lowered),
            Err(bits) if best.is_none_or(|b| bits > b.1) => best = Some((log_n, bits)),
            Err(_) => {}
        }
    }
    let (log_n, bits) = best.unwrap_or((0, f64::NEG_INFINITY));
    let message =
        format!("noise leaves {bits:.1} bits of the outputs, {precision_bits:.1} are asked for");
    Err(Diagnostic::new(Code::Precision, message)
        .note(format!(
            "the best ring tried has dimension 2^{log_n}, the model needs {depth} levels"
        ))
        .help("ask for fewer bits with --precision-bits, or for lower degrees with --max-error")
        .into())
}

/// The scales for which a secure parameter set exists, largest first.
fn scales(log_n: u32, depth: usize, options: &Options) -> impl Iterator<Item = u32> {
    let wish = options.scale_bits;
    SCALES
        .rev()
        .filter(move |&s| wish.is_none_or(|w| w == s))
        .filter(move |&s| !candidates(log_n, depth, s).is_empty())
}

fn candidates(log_n: u32, depth: usize, scale_bits: u32) -> Vec<Parameters> {
    passes::ckks::parameters::candidates(log_n, depth, scale_bits, HEADROOM_BITS)
}

fn too_deep(depth: usize, options: &Options) -> Diagnostic {
    let message = format!("no secure parameter set carries {depth} levels");
    let found = Diagnostic::new(Code::TooDeep, message);
    match (options.log_n, options.scale_bits) {
        (None, None) => found
            .note(format!("the largest ring has dimension 2^{}", LOG_N.end()))
            .help("use fewer or smoother activations, or allow lower degrees with --max-error"),
        _ => found.help("leave out --log-n and --scale-bits, and the compiler chooses them"),
    }
}

/// What one byte of keys is worth beside the seconds of a run: keys are stored, sent, read and
/// expanded.
const SECONDS_PER_KEY_BYTE: f64 = 4e-9;

fn weight(cost: &Cost) -> f64 {
    cost.seconds + cost.encode_seconds + SECONDS_PER_KEY_BYTE * cost.key_bytes as f64
}

struct Ring<'a> {
    real: &'a Real,
    log_n: u32,
    depth: usize,
    options: &'a Options,
    judge: &'a dyn Judge,
}

impl Ring<'_> {
    /// The plan of this ring, or the bits that it reaches at most.
    fn search(
        &self,
        precision_bits: f64,
        observer: &mut dyn Observer,
    ) -> Result<Result<Lowered, f64>, CompileError> {
        let width = 1usize << (self.log_n - 1);
        let graph = passes::slots::lower(&self.real.graph, &self.real.ports, width);
        observer.after("assign-layouts", Stage::Slots(&graph));
        let wanted = precision_bits + RESERVE_BITS;
        let mut feasible: Vec<u32> = scales(self.log_n, self.depth, self.options).collect();
        let Some(&largest) = feasible.first() else { return Ok(Err(f64::NEG_INFINITY)) };
        let mut best = self.probe(&graph, largest, observer)?;
        if best.bits < wanted {
            return Ok(Err(best.bits - RESERVE_BITS));
        }
        // The first guess assumes one bit per bit; noise that does not scale makes it too low.
        let spare = (best.bits - wanted).floor().max(0.0) as u32;
        feasible.reverse();
        for s in feasible.into_iter().filter(|&s| s < largest && s + spare >= largest) {
            let probed = self.probe(&graph, s, observer)?;
            if probed.bits >= wanted {
                best = probed;
                break;
            }
        }
        Ok(Ok(best.lowered))
    }

    /// Lowers at one scale and measures the bits that noise leaves.
    fn probe(
        &self,
        graph: &slots::Graph,
        scale_bits: u32,
        observer: &mut dyn Observer,
    ) -> Result<Probed, CompileError> {
        observer.progress(&format!("trying ring 2^{} at scale 2^{scale_bits}", self.log_n));
        let mut cheapest: Option<(Cost, ckks::Graph)> = None;
        for parameters in candidates(self.log_n, self.depth, scale_bits) {
            let lowered = passes::ckks::lower(graph, &parameters, scale_bits)
                .map_err(|e| CompileError::broken("lower-to-ckks", &e))?;
            let cost = cost::plan_cost(&lowered, &Costs::default());
            if cheapest.as_ref().is_none_or(|c| weight(&cost) < weight(&c.0)) {
                cheapest = Some((cost, lowered));
            }
        }
        let (cost, lowered) = cheapest.expect("a feasible scale has a candidate");
        observer.after("lower-to-ckks", Stage::Ckks(&lowered));
        let plan =
            passes::plan::emit(&lowered).map_err(|e| CompileError::broken("emit-plan", &e))?;
        observer.after("emit-plan", Stage::Plan(&plan));
        let bits = self.measure(&plan)?;
        Ok(Probed { lowered: Lowered { plan, cost, scale_bits }, bits })
    }

    /// Bits of precision against the approximated graph in the clear, so that noise alone counts.
    fn measure(&self, plan: &Plan) -> Result<f64, CompileError> {
        let probes: Vec<Tensors> = self.real.samples.iter().take(PROBES).cloned().collect();
        match self.judge.simulate(plan, &probes) {
            Ok(got) => {
                Ok(Quality::within(&got, &self.real.approximated, &self.real.spans).precision_bits)
            }
            Err(Refusal::Overflow(_)) => Ok(f64::NEG_INFINITY),
            Err(Refusal::Broken(e)) => Err(CompileError::broken("simulate", &e)),
        }
    }
}

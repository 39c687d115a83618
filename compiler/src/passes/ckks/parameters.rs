//! Prime chains that carry a computation at 128 bits of security.
//!
//! *What*: for a ring, a depth and a waterline, the parameter sets that fit the security bound,
//! cheapest first.
//!
//! *How*: `q_0` holds the outputs with their headroom (lifted ones ask for more of it), the rescaling primes lie as near to the
//! waterline scale as primes allow, alternating around it, so that scales drift least. For every
//! digit size the special primes are the fewest of at most 50 bits (and once more of at most 30, which
//! are quicker) that exceed the largest digit
//! by two bits, and by up to six where they are not more for it and security allows: the noise of a
//! key switch falls below that of a rescale (hybrid key switching: Han and Ki, ePrint 2019/688), so
//! that the scale, which every level pays for, can be smaller.
//!
//! *Why at this place*: the depth is known once the slots graph is, and every later choice needs
//! the primes. Security is not decided here: [`Parameters::new`] refuses what is not secure, and
//! nothing here can ask for less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use heplan_ir::bootstrap::{self, Bootstrap};
use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::parameters::{LOG_N, Parameters, ParametersLiteral, max_log_qp};
use heplan_ir::primes::{self, MAX_PRIME_BITS};

use crate::cost::{Costs, Place, Work, bytes_of_key};

/// Bits of headroom that suit a normalised graph: values stay below `2^3` in magnitude.
pub const HEADROOM_BITS: u32 = 3;

/// How many bits the special modulus exceeds the largest digit by, at least.
const MARGIN_BITS: f64 = 2.0;
/// And at most.
const WIDE_MARGIN_BITS: f64 = 6.0;

/// Bits of short primes, whose transforms and products take less than half the time.
const SHORT_BITS: u32 = 30;

/// The largest digit size that is tried.
const MAX_DIGIT_SIZE: usize = 6;
/// And where there is a bootstrap, whose keys are larger and live at higher levels.
const MAX_REFRESHING_DIGIT_SIZE: usize = 14;

/// Baby steps of a bootstrap's transforms: more are quicker and take more keys.
const BABY_STEPS: [usize; 3] = [4, 8, 16];

/// Primes of a size that most searches do with.
const MANY_PRIMES: usize = 24;

/// What one byte of a rotation key is worth beside the seconds of the rotation: a key is read from
/// a file at about a gigabyte per second, and used about once.
const SECONDS_PER_KEY_BYTE: f64 = 1e-9;

/// The secure sets for a ring, cheapest first; empty when none fits.
///
/// `depth` is the number of rescales, `waterline_bits` the logarithm of the scale, and
/// `headroom_bits` bounds values: all are below `2^headroom_bits` in magnitude. So at level 0
/// `q_0` exceeds twice the largest value, and before the rescale at any level `ℓ ≥ 1` the modulus
/// exceeds twice the largest product, since `q_1 ⋯ q_ℓ` is at least about the scale that the
/// rescale removes.
pub fn candidates(
    log_n: u32,
    depth: usize,
    waterline_bits: u32,
    headroom_bits: u32,
) -> Vec<Parameters> {
    let Some(q) = chain(log_n, depth, waterline_bits, headroom_bits) else { return Vec::new() };
    let sizes = 1..=MAX_DIGIT_SIZE.min(q.len());
    let with = |(digit_size, most_bits)| {
        let p = special(log_n, &q, digit_size, most_bits)?;
        Parameters::new(ParametersLiteral { log_n, q: q.clone(), p, digit_size }).ok()
    };
    sorted(sizes.flat_map(|d| [MAX_PRIME_BITS, SHORT_BITS].map(|most| (d, most))).filter_map(with))
}

/// The secure sets for a ring with a bootstrap that leaves `levels` levels, cheapest first; empty when none fits.
///
/// Values are carried at a scale of `waterline_bits`, or lifted by up to `lift` bits more.
pub fn refreshing_candidates(
    log_n: u32,
    levels: usize,
    waterline_bits: u32,
    lift: u32,
) -> Vec<Parameters> {
    let bootstrap = Bootstrap::usual(log_n, levels);
    let Some(q) = refreshing_chain(log_n, &bootstrap, waterline_bits, lift) else {
        return Vec::new();
    };
    let with = |digit_size| {
        let p = special(log_n, &q, digit_size, MAX_PRIME_BITS)?;
        Parameters::new(ParametersLiteral { log_n, q: q.clone(), p, digit_size }).ok()
    };
    let sets = (1..=MAX_REFRESHING_DIGIT_SIZE.min(q.len())).filter_map(with);
    sorted(sets.flat_map(|set| {
        let with = |baby_steps| {
            let bootstrap = Bootstrap { baby_steps, ..bootstrap.clone() };
            set.clone().with_bootstrap(bootstrap).ok()
        };
        BABY_STEPS.map(with).into_iter().flatten()
    }))
}

/// Sets without repetitions, cheapest first.
fn sorted(found: impl Iterator<Item = Parameters>) -> Vec<Parameters> {
    let mut sets: Vec<Parameters> = Vec::new();
    for set in found {
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    let costs = Costs::default();
    sets.sort_by(|a, b| weight(&costs, a).total_cmp(&weight(&costs, b)));
    sets
}

/// The cheapest secure set for a ring.
///
/// # Errors
/// [`Code::TooDeep`] when there is none, with what is needed and what the ring allows.
pub fn select(
    log_n: u32,
    depth: usize,
    waterline_bits: u32,
    headroom_bits: u32,
) -> Result<Parameters, Box<Diagnostic>> {
    let found = candidates(log_n, depth, waterline_bits, headroom_bits).into_iter().next();
    found.ok_or_else(|| Box::new(too_deep(log_n, depth, waterline_bits, headroom_bits)))
}

/// The smallest ring, as `log2 N`, that has a secure set for the depth.
pub fn smallest_ring(depth: usize, waterline_bits: u32, headroom_bits: u32) -> Option<u32> {
    LOG_N
        .into_iter()
        .find(|&log_n| !candidates(log_n, depth, waterline_bits, headroom_bits).is_empty())
}

fn too_deep(log_n: u32, depth: usize, waterline_bits: u32, headroom_bits: u32) -> Diagnostic {
    let bound = max_log_qp(log_n).unwrap_or(0.0);
    let first = waterline_bits + headroom_bits + 1;
    let needed = f64::from(first) * 2.0 + depth as f64 * f64::from(waterline_bits) + MARGIN_BITS;
    let message = format!(
        "no secure parameters carry {depth} levels at a scale of {waterline_bits} bits in a ring of dimension 2^{log_n}"
    );
    Diagnostic::new(Code::TooDeep, message)
        .note(format!(
            "the moduli take about {needed:.0} bits, 128-bit security allows {bound:.0} bits"
        ))
        .note(format!(
            "the first prime takes {first} bits, primes of at most {MAX_PRIME_BITS} bits can be run"
        ))
        .help("lower the degree of the activations or the precision, or allow a larger ring")
}

/// `q_0 … q_depth`, or nothing when the ring has too few such primes.
fn chain(log_n: u32, depth: usize, waterline_bits: u32, headroom_bits: u32) -> Option<Vec<u64>> {
    let first = waterline_bits.checked_add(headroom_bits)?.checked_add(1)?;
    if !LOG_N.contains(&log_n) || waterline_bits <= log_n + 2 || first > MAX_PRIME_BITS {
        return None;
    }
    // Primes near a power are more than half of it: what is not secure with these is not with any.
    let least = f64::from(first) - 1.0 + depth as f64 * f64::from(waterline_bits - 1);
    if least > max_log_qp(log_n)? {
        return None;
    }
    let floor = 1u64 << first;
    let mut q = if first < MAX_PRIME_BITS {
        near_power(first, log_n).filter(|&q| q > floor).take(1).collect::<Vec<_>>()
    } else {
        near_power(first, log_n).take(1).collect()
    };
    let head = q.first().copied()?;
    q.extend(near_power(waterline_bits, log_n).filter(|&p| p != head).take(depth));
    (q.len() == depth + 1).then_some(q)
}

/// [`primes::near_power`], of which the first are known from the last time: the search for parameters asks for the same
/// ones again and again.
fn near_power(bits: u32, log_n: u32) -> impl Iterator<Item = u64> {
    type Known = BTreeMap<(u32, u32), Arc<[u64]>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = || primes::near_power(bits, log_n).take(MANY_PRIMES).collect();
    let first = Arc::clone(known.entry((bits, log_n)).or_insert_with(found));
    let rest = primes::near_power(bits, log_n).skip(MANY_PRIMES);
    (0..first.len()).map(move |i| first[i]).chain(rest)
}

/// The primes of a chain with a bootstrap: one that exceeds the scale by far, those of the circuit, and those of the
/// bootstrap's sections.
fn refreshing_chain(
    log_n: u32,
    bootstrap: &Bootstrap,
    waterline_bits: u32,
    lift: u32,
) -> Option<Vec<u64>> {
    let allowed = max_log_qp(log_n).filter(|_| bootstrap::LOG_N.contains(&log_n))?;
    let [first, to_coefficients, reduction, to_slots] =
        Bootstrap::prime_bits(waterline_bits + lift);
    let sections = [
        (first, 1),
        (waterline_bits, bootstrap.output_level),
        (to_coefficients, bootstrap.slots_to_coefficients),
        (reduction, bootstrap.reduction_levels()),
        (to_slots, bootstrap.coefficients_to_slots),
    ];
    let least: f64 = sections.iter().map(|&(bits, n)| f64::from(bits - 1) * n as f64).sum();
    if waterline_bits <= log_n + 2 || first > MAX_PRIME_BITS || least > allowed {
        return None;
    }
    let mut q: Vec<u64> = Vec::new();
    for (bits, count) in sections {
        let free: Vec<u64> =
            near_power(bits, log_n).filter(|prime| !q.contains(prime)).take(count).collect();
        q.extend(free);
    }
    (q.len() == bootstrap.max_level() + 1).then_some(q)
}

/// The fewest special primes of about equal size, of at most so many bits, for a digit size.
fn special(log_n: u32, q: &[u64], digit_size: usize, most_bits: u32) -> Option<Vec<u64>> {
    let bits = |primes: &[u64]| primes.iter().map(|&q| (q as f64).log2()).sum::<f64>();
    let digit = q.chunks(digit_size).map(bits).fold(0.0, f64::max);
    let fewest = ((digit + MARGIN_BITS - 0.05).ceil() as u32).div_ceil(most_bits);
    // What neither security nor the number of primes has against.
    let allowed = max_log_qp(log_n)? - bits(q) - 0.1;
    if allowed < digit + MARGIN_BITS - 0.5 {
        // Not even the fewest bits are secure: no need to look for primes.
        return None;
    }
    let most = allowed.min(f64::from(fewest * most_bits)).floor();
    let needed = (digit + WIDE_MARGIN_BITS).min(most).max(digit + MARGIN_BITS);
    let mut taken: BTreeSet<u64> = q.iter().copied().collect();
    // A hundredth of a bit is what primes near a power miss it by.
    let total = (needed - 0.05).ceil() as u32;
    let count = total.div_ceil(most_bits);
    let mut p = Vec::new();
    for i in 0..count {
        let each = total / count + u32::from(i < total % count);
        let prime = near_power(each, log_n)
            .find(|p| !taken.contains(p) && (most_bits != SHORT_BITS || Place::is_short(*p)))?;
        taken.insert(prime);
        p.push(prime);
    }
    (bits(&p) + 0.1 >= needed).then_some(p)
}

/// Seconds of a rotation half way up the chain, and the worth of its key.
fn weight(costs: &Costs, parameters: &Parameters) -> f64 {
    let middle = Place::of(parameters, parameters.max_level().div_ceil(2));
    let key = bytes_of_key(parameters, parameters.max_level());
    costs.seconds(&Work::rotate(&middle)) + key as f64 * SECONDS_PER_KEY_BYTE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_levels_of_27_bits_fit_the_ring_of_8192() {
        let set = select(13, 5, 27, 3).unwrap();
        assert_eq!((set.max_level(), set.digit_size(), set.p().len()), (5, 1, 1));
        assert!(set.log_qp() <= 214.0 && set.log_qp() > 195.0);
        assert_eq!(smallest_ring(5, 27, 3), Some(13));
    }

    #[test]
    fn a_graph_too_deep_is_diagnosed() {
        let error = select(13, 8, 27, 3).unwrap_err();
        assert_eq!(error.code, Code::TooDeep);
        assert!(error.message.contains("8 levels") && error.notes[0].contains("214 bits"));
        assert_eq!(smallest_ring(8, 27, 3), Some(14));
        assert_eq!(smallest_ring(500, 40, 3), None);
        assert!(candidates(13, 2, 49, 3).is_empty(), "q_0 would exceed 50 bits");
    }

    #[test]
    fn every_candidate_is_sound() {
        let log2 = |primes: &[u64]| primes.iter().map(|&q| (q as f64).log2()).sum::<f64>();
        for log_n in 12..=16 {
            for (depth, s) in [(0, 25), (1, 25), (3, 30), (7, 36), (11, 40), (20, 45), (24, 33)] {
                for set in candidates(log_n, depth, s, 3) {
                    assert_eq!(set.max_level(), depth);
                    assert!(set.log_qp() <= max_log_qp(log_n).unwrap());
                    let digit = set.q().chunks(set.digit_size()).map(log2).fold(0.0, f64::max);
                    let margin = log2(set.p()) - digit;
                    assert!((1.9..7.2).contains(&margin), "margin of {margin} bits");
                    assert!(set.q()[0] > 1 << (s + 3));
                    for level in 1..=depth {
                        let product = f64::from(s) + log2(&set.q()[level..=level]) + 3.0;
                        assert!(product + 0.99 < set.log_q_at(level));
                    }
                }
            }
        }
    }

    #[test]
    fn candidates_are_sorted_by_weight_and_offer_several_digit_sizes() {
        let sets = candidates(14, 7, 36, 3);
        let costs = Costs::default();
        assert!(sets.len() >= 2, "only {} sets", sets.len());
        assert!(sets.windows(2).all(|w| weight(&costs, &w[0]) <= weight(&costs, &w[1])));
    }
}

//! The diagonals of groups of butterflies: the encoder's transform ([`crate::encoder`]) and its inverse as few sparse maps.
//!
//! The transform takes the numbers `w` in bit-reversed order to the slots by one stage of butterflies after the other, at
//! distances 1, 2, 4, …; its inverse undoes them from the largest distance on. A product of `m` stages at distances
//! from `2^a` on has `2^(m + 1) - 1` diagonals that are `2^a` apart (Cheon, Han, Hhan, ePrint 2018/1073).
//! They are computed from roots of unity and never stored in files.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use heplan_ir::bootstrap::{Direction, Stage};

/// Complex numbers, real and imaginary parts.
#[derive(Clone)]
pub(super) struct Complex {
    pub(super) re: Vec<f64>,
    pub(super) im: Vec<f64>,
}

impl Complex {
    fn zeros(n: usize) -> Self {
        Self { re: vec![0.0; n], im: vec![0.0; n] }
    }

    fn at(&self, i: usize) -> [f64; 2] {
        [self.re[i], self.im[i]]
    }

    fn add(&mut self, i: usize, [re, im]: [f64; 2]) {
        self.re[i] += re;
        self.im[i] += im;
    }
}

/// The diagonals of a group by offset in slots, not made positive yet; each repeats after the block of its largest
/// butterflies.
pub(super) fn diagonals(stage: &Stage) -> BTreeMap<i64, Complex> {
    let period = 1usize << (stage.log_stride + stage.butterflies);
    let one = Complex { re: vec![1.0; period], im: vec![0.0; period] };
    let mut map = BTreeMap::from([(0, one)]);
    let exponents = stage.log_stride..stage.log_stride + stage.butterflies;
    let exponents: Vec<u32> = match stage.direction {
        Direction::CoefficientsToSlots => exponents.rev().collect(),
        Direction::SlotsToCoefficients => exponents.collect(),
    };
    for exponent in exponents {
        let rows = Rows::new(stage.direction, 1 << exponent);
        map = rows.times(&map, period);
    }
    if !stage.cyclic {
        return map;
    }
    // Offsets wrap around: those that are equal modulo the slots are one diagonal.
    let mut wrapped: BTreeMap<i64, Complex> = BTreeMap::new();
    for (offset, diagonal) in map {
        let into = wrapped
            .entry(offset.rem_euclid(period as i64))
            .or_insert_with(|| Complex::zeros(period));
        (0..period).for_each(|t| into.add(t, diagonal.at(t)));
    }
    wrapped
}

/// One stage of butterflies: its three diagonals, for one block.
struct Rows {
    half: usize,
    /// Offset 0.
    own: Vec<[f64; 2]>,
    /// The partner's: at offset `half` in the first half of the block, `-half` in the second.
    partner: Vec<[f64; 2]>,
}

impl Rows {
    fn new(direction: Direction, half: usize) -> Self {
        let (mut own, mut partner) = (vec![[0.0; 2]; 2 * half], vec![[0.0; 2]; 2 * half]);
        let order = 8 * half;
        let mut power = 1;
        for j in 0..half {
            let (sin, cos) = libm::sincos(TAU * power as f64 / order as f64);
            power = power * 5 % order;
            match direction {
                // (a + b ω, a - b ω)
                Direction::SlotsToCoefficients => {
                    (own[j], partner[j]) = ([1.0, 0.0], [cos, sin]);
                    (partner[half + j], own[half + j]) = ([1.0, 0.0], [-cos, -sin]);
                }
                // ((a + b) / 2, (a - b) / 2ω)
                Direction::CoefficientsToSlots => {
                    (own[j], partner[j]) = ([0.5, 0.0], [0.5, 0.0]);
                    let (re, im) = (0.5 * cos, -0.5 * sin);
                    (partner[half + j], own[half + j]) = ([re, im], [-re, -im]);
                }
            }
        }
        Self { half, own, partner }
    }

    /// The product of the stage with a map whose diagonals have that period.
    fn times(&self, map: &BTreeMap<i64, Complex>, period: usize) -> BTreeMap<i64, Complex> {
        let half = self.half as i64;
        let mut out: BTreeMap<i64, Complex> = BTreeMap::new();
        for (&offset, diagonal) in map {
            for (shift, wanted) in [(0, None), (half, Some(true)), (-half, Some(false))] {
                let into = out.entry(offset + shift).or_insert_with(|| Complex::zeros(period));
                for t in 0..period {
                    let place = t % (2 * self.half);
                    let factor = match wanted {
                        None => self.own[place],
                        Some(first) if first == (place < self.half) => self.partner[place],
                        Some(_) => continue,
                    };
                    let from = (t as i64 + shift).rem_euclid(period as i64) as usize;
                    into.add(t, product(factor, diagonal.at(from)));
                }
            }
        }
        out
    }
}

fn product([a, b]: [f64; 2], [c, d]: [f64; 2]) -> [f64; 2] {
    [a * c - b * d, a * d + b * c]
}

/// The diagonals of a stage as its schedule multiplies them, by index: shifted by what comes after (its own giant step) and
/// by how much its operand lags behind already, times a factor.
///
/// The first group of slots to coefficients halves the constant coefficient, which the conjugation that follows would count
/// twice.
pub(super) fn weights(
    stage: &Stage,
    slots: usize,
    lag: u32,
    halves: bool,
    factor: f64,
) -> Vec<Complex> {
    let stride = i64::from(stage.stride());
    let own = i64::from(stage.lag());
    let by_offset = diagonals(stage);
    let period = if halves { slots } else { stage.period };
    let weight = |index: usize| {
        let offset = index as i64 * stride - own;
        let giant = (index / stage.baby_steps * stage.baby_steps) as i64 * stride;
        let mut out = Complex::zeros(period);
        let Some(diagonal) = by_offset.get(&offset) else { return out };
        for t in 0..period {
            let place = t as i64 - giant + i64::from(lag) + own;
            let [re, im] = diagonal.at(place.rem_euclid(diagonal.re.len() as i64) as usize);
            let constant = halves && (place + offset).rem_euclid(slots as i64) == 0;
            let factor = if constant { factor / 2.0 } else { factor };
            out.add(t, [re * factor, im * factor]);
        }
        out
    };
    (0..stage.diagonals).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::bootstrap::Bootstrap;

    fn pattern(n: usize, seed: usize) -> Vec<[f64; 2]> {
        let number = |i: usize, k| ((i * 7919 + k * seed) % 1009) as f64 / 504.5 - 1.0;
        (0..n).map(|i| [number(i, 3), number(i, 5)]).collect()
    }

    /// The map as its schedule applies it: baby steps, weights, giant steps by Horner's rule.
    fn apply(stage: &Stage, weights: &[Complex], x: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let n = x.len();
        let mut sum = vec![[0.0; 2]; n];
        for giant in (0..stage.giant_steps).rev() {
            sum = (0..n).map(|t| sum[(t + stage.giant() as usize) % n]).collect();
            for baby in 0..stage.baby_steps {
                let Some(w) = weights.get(giant * stage.baby_steps + baby) else { continue };
                for (t, s) in sum.iter_mut().enumerate() {
                    let from = x[(t + baby * stage.stride() as usize) % n];
                    let [re, im] = product(w.at(t % w.re.len()), from);
                    *s = [s[0] + re, s[1] + im];
                }
            }
        }
        sum
    }

    /// The definition: the values of a polynomial of `n` complex coefficients at the orbit of 5.
    fn transform(w: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let n = w.len();
        let mut power = 1;
        let value = |power: usize| {
            w.iter().enumerate().fold([0.0; 2], |[re, im], (k, &w)| {
                let (s, c) = (TAU * (power * k % (4 * n)) as f64 / (4 * n) as f64).sin_cos();
                let [a, b] = product(w, [c, s]);
                [re + a, im + b]
            })
        };
        let step = |_| {
            let at = power;
            power = power * 5 % (4 * n);
            value(at)
        };
        (0..n).map(step).collect()
    }

    fn reversed(w: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let bits = w.len().ilog2();
        (0..w.len()).map(|i| w[i.reverse_bits() >> (usize::BITS - bits)]).collect()
    }

    fn turned(x: &[[f64; 2]], by: usize) -> Vec<[f64; 2]> {
        (0..x.len()).map(|t| x[(t + by) % x.len()]).collect()
    }

    fn assert_close(a: &[[f64; 2]], b: &[[f64; 2]]) {
        for (a, b) in a.iter().zip(b) {
            assert!((a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9, "{a:?} {b:?}");
        }
    }

    /// Groups of either direction multiply to the transform, but for the lag that the turn makes up for.
    #[test]
    fn groups_multiply_to_the_encoders_transform() {
        for (log_n, inverse, forward, baby_steps) in [(7, 2, 3, 2), (9, 3, 2, 4), (10, 3, 3, 8)] {
            let n = 1usize << (log_n - 1);
            let bootstrap = Bootstrap {
                coefficients_to_slots: inverse,
                slots_to_coefficients: forward,
                baby_steps,
                ..Bootstrap::usual(log_n, 1)
            };
            let stages = bootstrap.stages(log_n);
            assert_eq!(stages.len(), inverse + forward);
            let w = pattern(n, 17);
            let mut x = turned(&transform(&w), bootstrap.turn(log_n) as usize);
            let mut lag = 0;
            for stage in &stages[..inverse] {
                x = apply(stage, &weights(stage, n, lag, false, 1.0), &x);
                lag += stage.lag();
            }
            // In bit-reversed order, turned with the operand, and behind by the lag.
            let turned_w = coefficients(&turned(&transform(&w), bootstrap.turn(log_n) as usize));
            assert_close(&x, &turned(&reversed(&turned_w), lag as usize));
            for (i, stage) in stages[inverse..].iter().enumerate() {
                x = apply(stage, &weights(stage, n, lag, i == 0, 1.0), &x);
                lag += stage.lag();
            }
            let mut halved = turned_w;
            halved[0] = halved[0].map(|c| c / 2.0);
            assert_close(&x, &turned(&transform(&halved), lag as usize));
        }
    }

    /// The inverse by its definition: the transform is orthogonal up to its size.
    fn coefficients(z: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let n = z.len();
        let coefficient = |k: usize| {
            let mut power = 1;
            let mut sum = [0.0; 2];
            for &z in z {
                let (s, c) = (TAU * (power * k % (4 * n)) as f64 / (4 * n) as f64).sin_cos();
                let [a, b] = product(z, [c, -s]);
                sum = [sum[0] + a / n as f64, sum[1] + b / n as f64];
                power = power * 5 % (4 * n);
            }
            sum
        };
        (0..n).map(coefficient).collect()
    }
}

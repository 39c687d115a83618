//! The special Fourier transform of the canonical embedding.
//!
//! For a size `n` let `ζ = exp(2πi / 4n)`. The forward transform takes `w` to `z_j = Σ_k w_k ζ^(5^j k)`, the values at the
//! orbit of 5, and the inverse takes them back (Cheon, Han, Kim, Kim, Song: ePrint 2018/1043).
//! One table of roots serves every power of two up to the largest size, since the roots of a stage depend on its length only.
//! Real and imaginary parts lie in separate arrays, so that the loops vectorise.
//! They are compiled for the vector instructions of several processors; no product and sum are fused, so that all round alike.
//! Roots come from `libm`, so the same input gives the same bits on every machine.

use std::f64::consts::TAU;

use pulp::Arch;
use rayon::prelude::*;

/// Roots for all transforms up to one size.
pub(crate) struct SpecialFft {
    /// Entries `half .. 2·half` belong to the stage whose butterflies lie `half` apart.
    cos: Vec<f64>,
    sin: Vec<f64>,
}

impl SpecialFft {
    /// Roots for the sizes `1, 2, 4, …, max`, where `max` is a power of two.
    pub(crate) fn new(max: usize) -> Self {
        let (mut cos, mut sin) = (vec![1.0; max.max(1)], vec![0.0; max.max(1)]);
        let mut half = 1;
        while half < max {
            // The stage joins blocks of `half` into blocks of `2·half`, whose ζ has order 8·half.
            let order = 8 * half;
            let mut power = 1;
            for j in 0..half {
                let (s, c) = libm::sincos(TAU * power as f64 / order as f64);
                cos[half + j] = c;
                sin[half + j] = s;
                power = power * 5 % order;
            }
            half *= 2;
        }
        Self { cos, sin }
    }

    /// `w` times a factor to `z`. Both arrays have the same power of two as length, at most the largest size.
    pub(crate) fn forward(&self, re: &[f64], im: &[f64], factor: f64) -> [Vec<f64>; 2] {
        let gather =
            |part: &[f64]| gathered(part.len(), |i| part[reversed(i, part.len())] * factor);
        let (mut re, mut im) = rayon::join(|| gather(re), || gather(im));
        self.forward_halves(&mut re, &mut im);
        [re, im]
    }

    /// The stages on bit-reversed input; large sizes are two of half the size, side by side, and a last stage.
    fn forward_halves(&self, re: &mut [f64], im: &mut [f64]) {
        let half = re.len() / 2;
        if re.len() <= ALONE {
            Arch::new().dispatch(|| self.forward_stages(re, im));
            return;
        }
        let ((ra, rb), (ia, ib)) = (re.split_at_mut(half), im.split_at_mut(half));
        rayon::join(|| self.forward_halves(ra, ia), || self.forward_halves(rb, ib));
        stage_in_parts([ra, ia], [rb, ib], self.roots(half), forward_butterfly);
    }

    #[inline(always)]
    fn forward_stages(&self, re: &mut [f64], im: &mut [f64]) {
        let n = re.len();
        let mut half = 1;
        while half < n {
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                butterflies(half, re, im, self.roots(half), forward_butterfly);
            }
            half *= 2;
        }
    }

    /// `z` to `w`, times a factor, in place.
    pub(crate) fn inverse<'a>(
        &self,
        re: &'a mut [f64],
        im: &'a mut [f64],
        factor: f64,
    ) -> Transformed<'a> {
        self.inverse_halves(re, im);
        let factor = factor / re.len() as f64;
        Transformed { re, im, factor }
    }

    /// The stages; large sizes are a first stage, and two of half the size, side by side.
    fn inverse_halves(&self, re: &mut [f64], im: &mut [f64]) {
        let half = re.len() / 2;
        if re.len() <= ALONE {
            Arch::new().dispatch(|| self.inverse_stages(re, im));
            return;
        }
        let ((ra, rb), (ia, ib)) = (re.split_at_mut(half), im.split_at_mut(half));
        stage_in_parts(
            [&mut *ra, &mut *ia],
            [&mut *rb, &mut *ib],
            self.roots(half),
            inverse_butterfly,
        );
        rayon::join(|| self.inverse_halves(ra, ia), || self.inverse_halves(rb, ib));
    }

    #[inline(always)]
    fn inverse_stages(&self, re: &mut [f64], im: &mut [f64]) {
        let n = re.len();
        let mut half = n / 2;
        while half >= BLOCK {
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                butterflies(half, re, im, self.roots(half), inverse_butterfly);
            }
            half /= 2;
        }
        if n >= BLOCK {
            let (re, _) = re.as_chunks_mut::<BLOCK>();
            let (im, _) = im.as_chunks_mut::<BLOCK>();
            re.iter_mut().zip(im).for_each(|(re, im)| self.inverse_block(re, im));
        } else {
            self.inverse_small(re, im);
        }
    }

    /// The last stages, on a block that stays in registers.
    #[inline(always)]
    fn inverse_block(&self, re: &mut [f64; BLOCK], im: &mut [f64; BLOCK]) {
        // At a constant length the stages unroll.
        self.inverse_small(re.as_mut_slice(), im.as_mut_slice());
    }

    /// All stages of a small size.
    #[inline(always)]
    fn inverse_small(&self, re: &mut [f64], im: &mut [f64]) {
        let mut half = re.len() / 2;
        while half >= 1 {
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                butterflies(half, re, im, self.roots(half), inverse_butterfly);
            }
            half /= 2;
        }
    }

    /// The roots of the stage whose butterflies lie `half` apart.
    fn roots(&self, half: usize) -> (&[f64], &[f64]) {
        (&self.cos[half..2 * half], &self.sin[half..2 * half])
    }
}

/// Length of the blocks on which the last stages are done together.
const BLOCK: usize = 8;

/// Sizes up to this are transformed on one thread.
const ALONE: usize = 1 << 11;

/// Numbers that one task gathers.
const GATHERED: usize = 1 << 12;

/// `(a + b ω, a - b ω)`.
#[inline(always)]
fn forward_butterfly([ar, ai]: [f64; 2], [br, bi]: [f64; 2], cos: f64, sin: f64) -> [[f64; 2]; 2] {
    let (vr, vi) = (br * cos - bi * sin, br * sin + bi * cos);
    [[ar + vr, ai + vi], [ar - vr, ai - vi]]
}

/// `(a + b, (a - b) / ω)`.
#[inline(always)]
fn inverse_butterfly([ar, ai]: [f64; 2], [br, bi]: [f64; 2], cos: f64, sin: f64) -> [[f64; 2]; 2] {
    let (dr, di) = (ar - br, ai - bi);
    [[ar + br, ai + bi], [dr * cos + di * sin, di * cos - dr * sin]]
}

/// A butterfly on every pair of elements that lie `half` apart.
#[inline(always)]
fn butterflies(
    half: usize,
    re: &mut [f64],
    im: &mut [f64],
    roots: (&[f64], &[f64]),
    f: impl Butterfly,
) {
    let (ar, br) = re.split_at_mut(half);
    let (ai, bi) = im.split_at_mut(half);
    stage([ar, ai], [br, bi], roots, f);
}

trait Butterfly: Fn([f64; 2], [f64; 2], f64, f64) -> [[f64; 2]; 2] + Sync {}

impl<F: Fn([f64; 2], [f64; 2], f64, f64) -> [[f64; 2]; 2] + Sync> Butterfly for F {}

/// A butterfly on every element of `a` and its partner in `b`; slices of equal length let the loop vectorise.
#[inline(always)]
fn stage(
    [ar, ai]: [&mut [f64]; 2],
    [br, bi]: [&mut [f64]; 2],
    (cos, sin): (&[f64], &[f64]),
    f: impl Butterfly,
) {
    let half = ar.len();
    let (ai, br, bi) = (&mut ai[..half], &mut br[..half], &mut bi[..half]);
    let (cos, sin) = (&cos[..half], &sin[..half]);
    for j in 0..half {
        let [a, b] = f([ar[j], ai[j]], [br[j], bi[j]], cos[j], sin[j]);
        [ar[j], ai[j]] = a;
        [br[j], bi[j]] = b;
    }
}

/// [`stage`] on two threads.
fn stage_in_parts(
    a: [&mut [f64]; 2],
    b: [&mut [f64]; 2],
    (cos, sin): (&[f64], &[f64]),
    f: impl Butterfly,
) {
    let middle = cos.len() / 2;
    let [[ar, ar2], [ai, ai2]] = a.map(|part| part.split_at_mut(middle).into());
    let [[br, br2], [bi, bi2]] = b.map(|part| part.split_at_mut(middle).into());
    let ((cos, cos2), (sin, sin2)) = (cos.split_at(middle), sin.split_at(middle));
    rayon::join(
        || {
            Arch::new()
                .dispatch(|| stage([&mut *ar, &mut *ai], [&mut *br, &mut *bi], (cos, sin), &f))
        },
        || {
            Arch::new().dispatch(|| {
                stage([&mut *ar2, &mut *ai2], [&mut *br2, &mut *bi2], (cos2, sin2), &f)
            })
        },
    );
}

/// The place of a number in bit-reversed order.
fn reversed(i: usize, n: usize) -> usize {
    if n > 1 { i.reverse_bits() >> (usize::BITS - n.ilog2()) } else { i }
}

/// `w`: the parts in bit-reversed order, each still to be multiplied by the factor.
#[derive(Clone, Copy)]
pub(crate) struct Transformed<'a> {
    re: &'a [f64],
    im: &'a [f64],
    factor: f64,
}

impl Transformed<'_> {
    /// The largest magnitude, if all are numbers.
    pub(crate) fn largest(self) -> Option<f64> {
        let of_run = |run: &[f64]| {
            let of = |c: f64| (c * self.factor).abs();
            // Not the maximum alone, which would pass over what is not a number.
            let finite = run.iter().fold(true, |all, &c| all & of(c).is_finite());
            finite.then(|| run.iter().fold(0.0f64, |m, &c| m.max(of(c))))
        };
        let both = |a: Option<f64>, b: Option<f64>| Some(a?.max(b?));
        let runs = self.re.par_chunks(GATHERED).chain(self.im.par_chunks(GATHERED));
        runs.map(of_run).reduce(|| Some(0.0), both)
    }

    /// First all real parts, then all imaginary ones, each rounded by the given function.
    pub(crate) fn rounded<T: Send>(self, round: impl Fn(f64) -> T + Sync + Send) -> Vec<T> {
        let n = self.re.len();
        gathered(2 * n, |i| {
            let part = if i < n { self.re } else { self.im };
            round(part[reversed(i % n, n)] * self.factor)
        })
    }
}

fn gathered<T: Send>(n: usize, f: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    (0..n).into_par_iter().with_min_len(GATHERED).map(f).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, term by term.
    fn naive(re: &[f64], im: &[f64]) -> Vec<(f64, f64)> {
        let n = re.len();
        let order = 4 * n;
        let mut power = 1;
        (0..n)
            .map(|_| {
                let value = (0..n).fold((0.0, 0.0), |(sr, si), k| {
                    let angle = TAU * (power * k % order) as f64 / order as f64;
                    let (s, c) = angle.sin_cos();
                    (sr + re[k] * c - im[k] * s, si + re[k] * s + im[k] * c)
                });
                power = power * 5 % order;
                value
            })
            .collect()
    }

    #[test]
    fn forward_is_the_definition_and_inverse_undoes_it() {
        let fft = SpecialFft::new(2 * ALONE);
        for n in [1, 2, 4, 64, 512, 2 * ALONE] {
            let re: Vec<f64> = (0..n).map(|i| ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0).collect();
            let im: Vec<f64> = (0..n).map(|i| ((i * 53 + 7) % 97) as f64 / 48.0 - 1.0).collect();
            let [mut a, mut b] = fft.forward(&re, &im, 1.0);
            for (j, (r, i)) in naive(&re, &im).into_iter().enumerate() {
                assert!((a[j] - r).abs() < 1e-11 && (b[j] - i).abs() < 1e-11, "{n} {j}");
            }
            let back = fft.inverse(&mut a, &mut b, 2.0).rounded(|c| c);
            let expected = re.iter().chain(&im);
            assert!(back.iter().zip(expected).all(|(b, e)| (b / 2.0 - e).abs() < 1e-13), "{n}");
        }
    }
}

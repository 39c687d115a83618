//! The special Fourier transform of the canonical embedding.
//!
//! For a size `n` let `ζ = exp(2πi / 4n)`. The forward transform takes `w` to `z_j = Σ_k w_k ζ^(5^j k)`, the values at the
//! orbit of 5, and the inverse takes them back (Cheon, Han, Kim, Kim, Song: ePrint 2018/1043).
//! One table of roots serves every power of two up to the largest size, since the roots of a stage depend on its length only.
//! Real and imaginary parts lie in separate arrays, so that the loops vectorise.
//! Roots come from `libm`, so the same input gives the same bits on every machine.

use std::f64::consts::TAU;

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

    /// `w` to `z`, in place. Both arrays have the same power of two as length, at most the largest size.
    pub(crate) fn forward(&self, re: &mut [f64], im: &mut [f64]) {
        bit_reverse(re);
        bit_reverse(im);
        let n = re.len();
        let mut half = 1;
        while half < n {
            let (cos, sin) = (&self.cos[half..2 * half], &self.sin[half..2 * half]);
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                let ((ar, br), (ai, bi)) = (re.split_at_mut(half), im.split_at_mut(half));
                for j in 0..half {
                    let vr = br[j] * cos[j] - bi[j] * sin[j];
                    let vi = br[j] * sin[j] + bi[j] * cos[j];
                    (br[j], bi[j]) = (ar[j] - vr, ai[j] - vi);
                    (ar[j], ai[j]) = (ar[j] + vr, ai[j] + vi);
                }
            }
            half *= 2;
        }
    }

    /// `z` to `w`, in place.
    pub(crate) fn inverse(&self, re: &mut [f64], im: &mut [f64]) {
        let n = re.len();
        let mut half = n / 2;
        while half >= 1 {
            let (cos, sin) = (&self.cos[half..2 * half], &self.sin[half..2 * half]);
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                let ((ar, br), (ai, bi)) = (re.split_at_mut(half), im.split_at_mut(half));
                for j in 0..half {
                    let (dr, di) = (ar[j] - br[j], ai[j] - bi[j]);
                    (ar[j], ai[j]) = (ar[j] + br[j], ai[j] + bi[j]);
                    br[j] = dr * cos[j] + di * sin[j];
                    bi[j] = di * cos[j] - dr * sin[j];
                }
            }
            half /= 2;
        }
        bit_reverse(re);
        bit_reverse(im);
        let norm = 1.0 / n as f64;
        for x in re.iter_mut().chain(im) {
            *x *= norm;
        }
    }
}

fn bit_reverse(a: &mut [f64]) {
    let n = a.len();
    if n < 2 {
        return;
    }
    let shift = usize::BITS - n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> shift;
        if i < j {
            a.swap(i, j);
        }
    }
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
        let fft = SpecialFft::new(512);
        for n in [1, 2, 4, 64, 512] {
            let re: Vec<f64> = (0..n).map(|i| ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0).collect();
            let im: Vec<f64> = (0..n).map(|i| ((i * 53 + 7) % 97) as f64 / 48.0 - 1.0).collect();
            let (mut a, mut b) = (re.clone(), im.clone());
            fft.forward(&mut a, &mut b);
            for (j, (r, i)) in naive(&re, &im).into_iter().enumerate() {
                assert!((a[j] - r).abs() < 1e-11 && (b[j] - i).abs() < 1e-11, "{n} {j}");
            }
            fft.inverse(&mut a, &mut b);
            for j in 0..n {
                assert!((a[j] - re[j]).abs() < 1e-13 && (b[j] - im[j]).abs() < 1e-13, "{n} {j}");
            }
        }
    }
}

//! Levels of polynomials near a function, by what is known of its best ones: what forms are compared
//! by before anything is fitted.

/// Levels of a polynomial near `exp` on an interval, by its Chebyshev coefficients: with half the
/// width `h` and the middle `c` they fall as `2·exp(c)·(h/2)^n/n!·exp(h²/4(n + 1))`.
pub(super) fn of_exponential((low, high): (f64, f64), error: f64) -> u32 {
    let (half, middle) = ((high - low) / 2.0, f64::midpoint(low, high));
    let (mut term, mut degree) = (2f64.ln() + middle, 0.0);
    loop {
        degree += 1.0;
        term += (half / 2.0 / degree).ln();
        if term + half * half / 4.0 / (degree + 1.0) <= error.ln() || degree >= MOST {
            return levels((degree - 1.0).max(1.0));
        }
    }
}

/// Levels of a polynomial near `1/x`, relative to its smallest value, on an interval whose ends have
/// this ratio: the best one of degree `n` errs by `(ratio - 1)/2 · ((√ratio - 1)/(√ratio + 1))^n`
/// beside the smallest value (Chebyshev).
pub(super) fn of_reciprocal(ratio: f64, error: f64) -> u32 {
    if ratio.is_nan() || ratio <= 1.0 {
        return 1;
    }
    levels((((ratio - 1.0) / 2.0 / error).ln() / decay(ratio)).max(1.0))
}

/// Levels of a polynomial near `log` on such an interval: its coefficients are `2/n` times the powers
/// of that quotient.
pub(super) fn of_logarithm(ratio: f64, error: f64) -> u32 {
    if ratio.is_nan() || ratio <= 1.0 {
        return 1;
    }
    let decay = decay(ratio);
    let remainder = |n: f64| 2.0 / (n + 1.0) * (-decay * (n + 1.0)).exp() / (1.0 - (-decay).exp());
    let degrees = (1..=MOST as u32).map(f64::from);
    levels(degrees.clone().find(|&n| remainder(n) <= error).unwrap_or(MOST))
}

/// Levels of a polynomial near softplus up to a magnitude `h`: its kink is as wide as one, so that
/// coefficients fall as those of `|x|/2` until degree `h/π`, and exponentially beyond.
pub(super) fn of_softplus(half: f64, error: f64) -> u32 {
    let pi = std::f64::consts::PI;
    let remainder = |n: f64| half / (pi * n) * (-pi * n / half).exp();
    let degrees = (2..=MOST as u32).step_by(2).map(f64::from);
    levels(degrees.clone().find(|&n| remainder(n) <= error).unwrap_or(MOST))
}

/// The rate at which the coefficients of a function with its singularity at zero fall.
fn decay(ratio: f64) -> f64 {
    let root = ratio.sqrt();
    ((root + 1.0) / (root - 1.0)).ln()
}

/// Degree at which counting ends.
const MOST: f64 = 1e6;

fn levels(degree: f64) -> u32 {
    (degree + 1.0).log2().ceil().min(64.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_range() {
        let of = [1.0, 2.0, 100.0, 1e4, 1e6].map(|ratio| of_reciprocal(ratio, 0.02));
        assert!(of.is_sorted() && of[0] == 1 && of[4] > 8, "{of:?}");
        let of = [0.1, 1.0, 5.0, 15.0].map(|h: f64| of_exponential((-h, h), 0.02 * h.exp()));
        assert!(of.is_sorted() && of[0] == 1 && of[3] == 4, "{of:?}");
        let of = [1.0, 2.0, 100.0, 1e4].map(|ratio| of_logarithm(ratio, 0.02));
        assert!(of.is_sorted() && of[0] == 1 && of[3] >= 7, "{of:?}");
        let of = [0.5, 5.0, 50.0].map(|half| of_softplus(half, 0.05));
        assert!(of.is_sorted() && of[0] <= 2 && of[2] >= 5, "{of:?}");
    }
}

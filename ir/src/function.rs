//! Univariate functions: what a `Function` node applies to every element.
//!
//! The list is what ONNX exporters write; approximation turns each into a
//! [`Series`](crate::series::Series) over its calibrated range.

mod names;

/// A univariate real function with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// `x` if `x ≥ 0`, else `alpha·x`.
    LeakyRelu {
        /// Slope below zero.
        alpha: f64,
    },
    /// `x` if `x > alpha`, else 0.
    ThresholdedRelu {
        /// Threshold.
        alpha: f64,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` if `x ≥ 0`, else `alpha·(exp(x) - 1)`.
    Elu {
        /// Saturation below zero.
        alpha: f64,
    },
    /// `gamma·x` if `x > 0`, else `gamma·alpha·(exp(x) - 1)`.
    Selu {
        /// Saturation below zero.
        alpha: f64,
        /// Slope.
        gamma: f64,
    },
    /// `max(0, x) + min(0, alpha·(exp(x/alpha) - 1))`.
    Celu {
        /// Saturation below zero.
        alpha: f64,
    },
    /// Gaussian error linear unit.
    Gelu {
        /// Whether the tanh form is meant instead of the exact one.
        tanh: bool,
    },
    /// `x·sigmoid(alpha·x)` (SiLU for `alpha = 1`).
    Swish {
        /// Steepness.
        alpha: f64,
    },
    /// `x·tanh(softplus(x))`.
    Mish,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `clamp(alpha·x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f64,
        /// Value at zero.
        beta: f64,
    },
    /// `x·clamp(x/6 + 1/2, 0, 1)`.
    HardSwish,
    /// `clamp(x, min, max)`; either bound may be infinite.
    Clip {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// `clamp(x, min, max)`, whose bounds are the range of a quantised type: the identity where
    /// the data stays inside.
    Saturate {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// Error function.
    Erf,
    /// Natural exponential.
    Exp,
    /// Natural logarithm (`x > 0`).
    Log,
    /// Square root (`x ≥ 0`).
    Sqrt,
    /// `1/x` (`x ≠ 0`, one sign).
    Reciprocal,
    /// `x^exponent` for a non-integer exponent (`x ≥ 0`).
    Pow {
        /// Exponent.
        exponent: f64,
    },
    /// Absolute value.
    Abs,
    /// −1, 0 or 1.
    Sign,
    /// 1 if `x > 0`, else 0.
    Step,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Arc tangent.
    Atan,
    /// Tangent (between two poles).
    Tan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Arc sine (`|x| ≤ 1`).
    Asin,
    /// Arc cosine (`|x| ≤ 1`).
    Acos,
    /// Area hyperbolic sine.
    Asinh,
    /// Area hyperbolic cosine (`x ≥ 1`).
    Acosh,
    /// Area hyperbolic tangent (`|x| < 1`).
    Atanh,
    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, 0 between.
    Shrink {
        /// What the values outside are moved by.
        bias: f64,
        /// Where the values between end.
        lambd: f64,
    },
}

impl Function {
    /// The function's value at `x`, in double precision.
    pub fn eval(&self, x: f64) -> f64 {
        match *self {
            Self::Relu => x.max(0.0),
            Self::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Self::ThresholdedRelu { alpha } => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Elu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Self::Selu { alpha, gamma } => gamma * if x > 0.0 { x } else { alpha * x.exp_m1() },
            Self::Celu { alpha } => x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0),
            Self::Gelu { tanh: false } => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Self::Gelu { tanh: true } => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            Self::Swish { alpha } => x * sigmoid(alpha * x),
            Self::Mish => x * softplus(x).tanh(),
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Clip { min, max } | Self::Saturate { min, max } => x.max(min).min(max),
            Self::Erf => libm::erf(x),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => x.recip(),
            Self::Pow { exponent } => x.powf(exponent),
            Self::Abs => x.abs(),
            Self::Sign => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Self::Step => f64::from(u8::from(x > 0.0)),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Atan => x.atan(),
            Self::Tan => x.tan(),
            Self::Sinh => x.sinh(),
            Self::Cosh => x.cosh(),
            Self::Asin => x.asin(),
            Self::Acos => x.acos(),
            Self::Asinh => x.asinh(),
            Self::Acosh => x.acosh(),
            Self::Atanh => x.atanh(),
            Self::Shrink { bias, lambd } => {
                if x < -lambd {
                    x + bias
                } else if x > lambd {
                    x - bias
                } else {
                    0.0
                }
            }
        }
    }

    /// Whether `f(s·x) = s·f(x)` for every `s > 0`, so that a range can be normalised per channel
    /// with one shared polynomial.
    pub fn is_positively_homogeneous(&self) -> bool {
        matches!(self, Self::Relu | Self::LeakyRelu { .. } | Self::Abs)
    }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

//! Names and parameters of functions, for texts and messages.

use super::Function;

/// Declares the names once: variant, name in texts, parameters.
macro_rules! names {
    ($($name:ident $({ $($field:ident),+ })? = $text:literal,)*) => {
        impl Function {
            /// The name in texts.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => $text,)*
                    Self::Gelu { tanh: false } => "gelu",
                    Self::Gelu { tanh: true } => "gelu_tanh",
                }
            }

            /// Real parameters with their names, sorted by name.
            pub fn parameters(&self) -> Vec<(&'static str, f64)> {
                match *self {
                    $(Self::$name $({ $($field),+ })? => vec![$($((stringify!($field), $field)),+)?],)*
                    Self::Gelu { .. } => Vec::new(),
                }
            }

            /// The function of this name, its parameters asked for one by one; `None` for a name
            /// that is not known or a parameter that is not given.
            pub fn from_name(
                name: &str,
                mut parameter: impl FnMut(&str) -> Option<f64>,
            ) -> Option<Self> {
                Some(match name {
                    "gelu" => Self::Gelu { tanh: false },
                    "gelu_tanh" => Self::Gelu { tanh: true },
                    $($text => Self::$name $({ $($field: parameter(stringify!($field))?),+ })?,)*
                    _ => return None,
                })
            }
        }
    };
}

names! {
    Relu = "relu",
    LeakyRelu { alpha } = "leaky_relu",
    ThresholdedRelu { alpha } = "thresholded_relu",
    Sigmoid = "sigmoid",
    Tanh = "tanh",
    Elu { alpha } = "elu",
    Selu { alpha, gamma } = "selu",
    Celu { alpha } = "celu",
    Swish { alpha } = "swish",
    Mish = "mish",
    Softplus = "softplus",
    Softsign = "softsign",
    HardSigmoid { alpha, beta } = "hard_sigmoid",
    HardSwish = "hard_swish",
    Clip { min, max } = "clip",
    Saturate { max, min } = "saturate",
    Erf = "erf",
    Exp = "exp",
    Log = "log",
    Sqrt = "sqrt",
    Reciprocal = "reciprocal",
    Pow { exponent } = "pow",
    Abs = "abs",
    Sign = "sign",
    Step = "step",
    Sin = "sin",
    Cos = "cos",
    Atan = "atan",
    Tan = "tan",
    Sinh = "sinh",
    Cosh = "cosh",
    Asin = "asin",
    Acos = "acos",
    Asinh = "asinh",
    Acosh = "acosh",
    Atanh = "atanh",
    Shrink { bias, lambd } = "shrink",
}

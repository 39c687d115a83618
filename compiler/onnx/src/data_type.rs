//! The element types of ONNX tensors: names, widths, ranges, and how their bits become numbers.
//!
//! Sources: the comments of `TensorProto.DataType` in `proto/onnx-ml.proto`, IEEE 754, and for
//! the 8-bit floats the ONNX documents on FLOAT8 ("Float stored in 8 bits").

use std::fmt;

/// The element type of a tensor, as ONNX numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DataType {
    /// 32-bit float.
    Float,
    /// 8-bit unsigned integer.
    Uint8,
    /// 8-bit signed integer.
    Int8,
    /// 16-bit unsigned integer.
    Uint16,
    /// 16-bit signed integer.
    Int16,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// 16-bit IEEE float.
    Float16,
    /// 64-bit float.
    Double,
    /// 32-bit unsigned integer.
    Uint32,
    /// 64-bit unsigned integer.
    Uint64,
    /// The upper half of a 32-bit float.
    Bfloat16,
    /// 8-bit float, 4 exponent bits, no infinity.
    Float8E4M3Fn,
    /// 8-bit float, 4 exponent bits, no infinity, no negative zero.
    Float8E4M3Fnuz,
    /// 8-bit float, 5 exponent bits, IEEE rules.
    Float8E5M2,
    /// 8-bit float, 5 exponent bits, no infinity, no negative zero.
    Float8E5M2Fnuz,
    /// 4-bit unsigned integer, two to a byte, the first in the low half.
    Uint4,
    /// 4-bit signed integer, two to a byte, the first in the low half.
    Int4,
    /// 2-bit unsigned integer, four to a byte, the first in the lowest bits.
    Uint2,
    /// 2-bit signed integer, four to a byte, the first in the lowest bits.
    Int2,
    /// 4-bit float, 2 exponent bits and 1 mantissa bit, two to a byte, without infinity or NaN.
    Float4E2M1,
    /// A type that this crate names but does not decode, with its ONNX number.
    Other(i32),
}

/// What the elements of a tensor are, apart from their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any float; decoded as `f64`, which holds every one of them exactly.
    Float,
    /// Any integer; decoded as `i64`.
    Int,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// Not decoded.
    Other,
}

impl DataType {
    /// The type with this number in `TensorProto.DataType`.
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Float,
            2 => Self::Uint8,
            3 => Self::Int8,
            4 => Self::Uint16,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            8 => Self::Text,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Double,
            12 => Self::Uint32,
            13 => Self::Uint64,
            16 => Self::Bfloat16,
            17 => Self::Float8E4M3Fn,
            18 => Self::Float8E4M3Fnuz,
            19 => Self::Float8E5M2,
            20 => Self::Float8E5M2Fnuz,
            21 => Self::Uint4,
            22 => Self::Int4,
            23 => Self::Float4E2M1,
            25 => Self::Uint2,
            26 => Self::Int2,
            other => Self::Other(other),
        }
    }

    /// Whether the elements are floats, integers, truth values or text.
    pub fn kind(self) -> Kind {
        match self {
            Self::Float
            | Self::Double
            | Self::Float16
            | Self::Bfloat16
            | Self::Float8E4M3Fn
            | Self::Float8E4M3Fnuz
            | Self::Float8E5M2
            | Self::Float8E5M2Fnuz
            | Self::Float4E2M1 => Kind::Float,
            Self::Uint2
            | Self::Uint4
            | Self::Uint8
            | Self::Uint16
            | Self::Uint32
            | Self::Uint64 => Kind::Int,
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => {
                Kind::Int
            }
            Self::Bool => Kind::Bool,
            Self::Text => Kind::Text,
            Self::Other(_) => Kind::Other,
        }
    }

    /// Bits of one element in `raw_data`; `None` where raw storage does not exist or is unknown.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Uint2 | Self::Int2 => Some(2),
            Self::Uint4 | Self::Int4 | Self::Float4E2M1 => Some(4),
            Self::Uint8 | Self::Int8 | Self::Bool => Some(8),
            Self::Float8E4M3Fn | Self::Float8E4M3Fnuz | Self::Float8E5M2 | Self::Float8E5M2Fnuz => {
                Some(8)
            }
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => Some(16),
            Self::Float | Self::Int32 | Self::Uint32 => Some(32),
            Self::Double | Self::Int64 | Self::Uint64 => Some(64),
            Self::Text | Self::Other(_) => None,
        }
    }

    /// The value of an integer type's bits, the low `width` bits of `bits`.
    ///
    /// `None` for a 64-bit unsigned number that `i64` cannot hold.
    pub(crate) fn int_of(self, bits: u64) -> Option<i64> {
        match self {
            Self::Uint64 => i64::try_from(bits).ok(),
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Int16 | Self::Int32 => {
                let unused = 64 - self.width().unwrap_or(64);
                Some(((bits << unused) as i64) >> unused)
            }
            _ => Some(bits as i64),
        }
    }

    /// The value of a float type's bits, the low `width` bits of `bits`.
    pub(crate) fn float_of(self, bits: u64) -> f64 {
        match self {
            Self::Double => f64::from_bits(bits),
            Self::Float => f64::from(f32::from_bits(bits as u32)),
            Self::Bfloat16 => f64::from(f32::from_bits((bits as u32) << 16)),
            Self::Float16 => small_float(bits, 5, 10, 15, Special::Ieee),
            Self::Float8E5M2 => small_float(bits, 5, 2, 15, Special::Ieee),
            Self::Float8E4M3Fn => small_float(bits, 4, 3, 7, Special::AllOnes),
            Self::Float8E4M3Fnuz => small_float(bits, 4, 3, 8, Special::NegativeZero),
            Self::Float8E5M2Fnuz => small_float(bits, 5, 2, 16, Special::NegativeZero),
            Self::Float4E2M1 => {
                const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
                let magnitude = MAGNITUDES[(bits & 7) as usize];
                if bits & 8 == 0 { magnitude } else { -magnitude }
            }
            _ => f64::NAN,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Float => "float32",
            Self::Uint8 => "uint8",
            Self::Int8 => "int8",
            Self::Uint16 => "uint16",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Text => "string",
            Self::Bool => "bool",
            Self::Float16 => "float16",
            Self::Double => "float64",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Bfloat16 => "bfloat16",
            Self::Float8E4M3Fn => "float8e4m3fn",
            Self::Float8E4M3Fnuz => "float8e4m3fnuz",
            Self::Float8E5M2 => "float8e5m2",
            Self::Float8E5M2Fnuz => "float8e5m2fnuz",
            Self::Uint4 => "uint4",
            Self::Int4 => "int4",
            Self::Uint2 => "uint2",
            Self::Int2 => "int2",
            Self::Float4E2M1 => "float4e2m1",
            Self::Other(0) => "undefined",
            Self::Other(14) => "complex64",
            Self::Other(15) => "complex128",
            Self::Other(number) => return write!(f, "type {number}"),
        };
        f.write_str(name)
    }
}

/// How a small float format spells what is not a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    /// The highest exponent is infinity or NaN.
    Ieee,
    /// Only exponent and mantissa all ones is NaN.
    AllOnes,
    /// Only the pattern of negative zero is NaN.
    NegativeZero,
}

/// The value of a sign, exponent, mantissa pattern of at most 16 bits.
fn small_float(bits: u64, exponent: u32, mantissa: u32, bias: i32, special: Special) -> f64 {
    let sign = if bits >> (exponent + mantissa) & 1 == 1 { -1.0 } else { 1.0 };
    let top = (1_u64 << exponent) - 1;
    let e = bits >> mantissa & top;
    let m = bits & ((1 << mantissa) - 1);
    let fraction = m as f64 / f64::from(1_u32 << mantissa);
    match special {
        Special::Ieee if e == top && m == 0 => return sign * f64::INFINITY,
        Special::Ieee if e == top => return f64::NAN,
        Special::AllOnes if e == top && m == (1 << mantissa) - 1 => return f64::NAN,
        Special::NegativeZero if e == 0 && m == 0 && sign < 0.0 => return f64::NAN,
        _ => {}
    }
    if e == 0 {
        sign * fraction * 2_f64.powi(1 - bias)
    } else {
        sign * (1.0 + fraction) * 2_f64.powi(e as i32 - bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the tables of IEEE 754 and of the OCP 8-bit format.
    #[test]
    fn small_floats_have_their_published_values() {
        let cases = [
            (DataType::Float16, 0x3c00, 1.0),
            (DataType::Float16, 0xc000, -2.0),
            (DataType::Float16, 0x7bff, 65504.0),
            (DataType::Float16, 0x0001, 2_f64.powi(-24)),
            (DataType::Float16, 0x7c00, f64::INFINITY),
            (DataType::Bfloat16, 0x3f80, 1.0),
            (DataType::Bfloat16, 0xc000, -2.0),
            (DataType::Float8E4M3Fn, 0x7e, 448.0),
            (DataType::Float8E4M3Fn, 0x01, 2_f64.powi(-9)),
            (DataType::Float8E4M3Fnuz, 0x7f, 240.0),
            (DataType::Float8E5M2, 0x7b, 57344.0),
            (DataType::Float8E5M2, 0xfc, f64::NEG_INFINITY),
            (DataType::Float8E5M2Fnuz, 0x7f, 57344.0),
        ];
        for (data_type, bits, value) in cases {
            assert_eq!(data_type.float_of(bits), value, "{data_type} {bits:#x}");
        }
        for (data_type, bits) in [
            (DataType::Float16, 0x7c01),
            (DataType::Float8E4M3Fn, 0xff),
            (DataType::Float8E4M3Fnuz, 0x80),
            (DataType::Float8E5M2, 0x7d),
            (DataType::Float8E5M2Fnuz, 0x80),
        ] {
            assert!(data_type.float_of(bits).is_nan(), "{data_type} {bits:#x}");
        }
    }

    #[test]
    fn narrow_integers_keep_their_sign() {
        assert_eq!(DataType::Int4.int_of(0xf), Some(-1));
        assert_eq!(DataType::Uint4.int_of(0xf), Some(15));
        assert_eq!([1, 2, 3].map(|b| DataType::Int2.int_of(b)), [Some(1), Some(-2), Some(-1)]);
        assert_eq!(DataType::Uint2.int_of(3), Some(3));
        assert_eq!([7, 9, 15].map(|b| DataType::Float4E2M1.float_of(b)), [6.0, -0.5, -6.0]);
        assert_eq!(DataType::Int8.int_of(0x80), Some(-128));
        assert_eq!(DataType::Uint8.int_of(0x80), Some(128));
        assert_eq!(DataType::Int32.int_of(0xffff_ffff), Some(-1));
        assert_eq!(DataType::Uint32.int_of(0xffff_ffff), Some(0xffff_ffff));
        assert_eq!(DataType::Uint64.int_of(u64::MAX), None);
    }
}

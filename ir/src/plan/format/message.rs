//! The messages of a plan's first section.
//!
//! Field numbers are the format: they never change meaning within a version. Scales and types
//! occur thousands of times and are stored once, in tables that the rest indexes.

use prost::{Message, Oneof};

/// A whole plan without the numbers of its constants.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Plan {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) parameters: Option<Parameters>,
    #[prost(message, repeated, tag = "3")]
    pub(super) keys: Vec<Key>,
    #[prost(message, repeated, tag = "4")]
    pub(super) scales: Vec<Scale>,
    #[prost(message, repeated, tag = "5")]
    pub(super) types: Vec<Type>,
    #[prost(message, repeated, tag = "6")]
    pub(super) inputs: Vec<Port>,
    #[prost(message, repeated, tag = "7")]
    pub(super) outputs: Vec<Port>,
    #[prost(message, repeated, tag = "8")]
    pub(super) insts: Vec<Inst>,
    #[prost(uint32, tag = "9")]
    pub(super) registers: u32,
    #[prost(string, repeated, tag = "10")]
    pub(super) origins: Vec<String>,
    #[prost(double, tag = "11")]
    pub(super) precision_bits: f64,
    /// 32 bytes for each constant.
    #[prost(bytes = "vec", tag = "12")]
    pub(super) hashes: Vec<u8>,
    /// The client's answers, each as a line of RON.
    #[prost(string, repeated, tag = "20")]
    pub(super) answers: Vec<String>,
    /// Ranges of the elements of inputs, each input a line of RON.
    #[prost(string, repeated, tag = "21")]
    pub(super) features: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Parameters {
    #[prost(uint32, tag = "1")]
    pub(super) log_n: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) q: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(super) p: Vec<u64>,
    #[prost(uint32, tag = "4")]
    pub(super) digit_size: u32,
    /// Samples per ciphertext; none for one.
    #[prost(uint32, optional, tag = "5")]
    pub(super) batch: Option<u32>,
    #[prost(message, optional, tag = "6")]
    pub(super) bootstrap: Option<Bootstrap>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bootstrap {
    #[prost(uint32, tag = "1")]
    pub(super) output_level: u32,
    #[prost(uint32, tag = "2")]
    pub(super) slots_to_coefficients: u32,
    #[prost(uint32, tag = "3")]
    pub(super) degree: u32,
    #[prost(uint32, tag = "4")]
    pub(super) double_angles: u32,
    #[prost(uint32, tag = "5")]
    pub(super) range: u32,
    #[prost(uint32, tag = "6")]
    pub(super) coefficients_to_slots: u32,
    #[prost(uint32, tag = "7")]
    pub(super) baby_steps: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Key {
    /// Steps of a rotation; none for relinearisation and for `other` keys.
    #[prost(uint32, optional, tag = "1")]
    pub(super) rotate: Option<u32>,
    #[prost(uint32, tag = "2")]
    pub(super) level: u32,
    /// 1 for conjugation, 2 to the sparse secret, 3 from it; none for the others.
    #[prost(uint32, optional, tag = "3")]
    pub(super) other: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scale {
    #[prost(sint32, tag = "1")]
    pub(super) exponent: i32,
    /// Odd primes, increasing.
    #[prost(uint64, repeated, tag = "2")]
    pub(super) primes: Vec<u64>,
    #[prost(sint32, repeated, tag = "3")]
    pub(super) powers: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(uint32, tag = "1")]
    pub(super) level: u32,
    #[prost(uint32, tag = "2")]
    pub(super) scale: u32,
    #[prost(uint32, tag = "3")]
    pub(super) degree: u32,
    #[prost(bool, tag = "4")]
    pub(super) extended: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Port {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) shape: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(super) sizes: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    pub(super) strides: Vec<u64>,
    #[prost(uint64, tag = "5")]
    pub(super) offset: u64,
    #[prost(uint64, tag = "6")]
    pub(super) period: u64,
    #[prost(uint64, tag = "7")]
    pub(super) width: u64,
    #[prost(double, tag = "8")]
    pub(super) factor: f64,
    #[prost(double, tag = "9")]
    pub(super) low: f64,
    #[prost(double, tag = "10")]
    pub(super) high: f64,
    #[prost(uint32, tag = "11")]
    pub(super) ty: u32,
    /// Registers of an output; empty for an input.
    #[prost(uint32, repeated, tag = "12")]
    pub(super) registers: Vec<u32>,
    /// Halvings of an input's fresh ciphertexts by rotations.
    #[prost(uint32, tag = "13")]
    pub(super) halvings: u32,
    /// Whether there is one more by conjugation.
    #[prost(bool, tag = "14")]
    pub(super) conjugate: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Inst {
    #[prost(oneof = "Op", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18")]
    pub(super) op: Option<Op>,
    #[prost(uint32, repeated, tag = "12")]
    pub(super) results: Vec<u32>,
    #[prost(uint32, tag = "13")]
    pub(super) ty: u32,
    #[prost(uint32, repeated, tag = "14")]
    pub(super) frees: Vec<u32>,
    #[prost(uint32, tag = "15")]
    pub(super) origin: u32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Op {
    #[prost(message, tag = "1")]
    Input(Input),
    #[prost(message, tag = "2")]
    Linear(Linear),
    #[prost(message, tag = "3")]
    Rotate(Unary),
    #[prost(message, tag = "4")]
    Add(Binary),
    #[prost(message, tag = "5")]
    Sub(Binary),
    #[prost(message, tag = "6")]
    AddPlain(Plain),
    #[prost(message, tag = "7")]
    MulPlain(Plain),
    #[prost(message, tag = "8")]
    Mul(Binary),
    #[prost(uint32, tag = "9")]
    Relinearise(u32),
    #[prost(uint32, tag = "10")]
    Rescale(u32),
    #[prost(message, tag = "11")]
    DropLevel(Unary),
    #[prost(uint32, tag = "16")]
    ModDown(u32),
    #[prost(message, tag = "17")]
    Bootstrap(Unary),
    #[prost(message, tag = "18")]
    RotateAdd(RotateAdd),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Input {
    #[prost(uint32, tag = "1")]
    pub(super) input: u32,
    #[prost(uint32, tag = "2")]
    pub(super) part: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Linear {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) xs: Vec<u32>,
    #[prost(uint32, tag = "2")]
    pub(super) transform: u32,
    #[prost(uint32, repeated, tag = "5")]
    pub(super) scales: Vec<u32>,
}

/// An operand and a number: steps of a rotation, or a level.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unary {
    #[prost(uint32, tag = "1")]
    pub(super) x: u32,
    #[prost(uint32, tag = "2")]
    pub(super) number: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RotateAdd {
    #[prost(uint32, tag = "1")]
    pub(super) x: u32,
    #[prost(uint32, tag = "2")]
    pub(super) by: u32,
    #[prost(uint32, tag = "3")]
    pub(super) y: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Binary {
    #[prost(uint32, tag = "1")]
    pub(super) a: u32,
    #[prost(uint32, tag = "2")]
    pub(super) b: u32,
}

/// An operand and a plaintext: either a number or a vector.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Plain {
    #[prost(uint32, tag = "1")]
    pub(super) x: u32,
    #[prost(double, optional, tag = "2")]
    pub(super) scalar: Option<f64>,
    #[prost(uint32, optional, tag = "3")]
    pub(super) vector: Option<u32>,
    /// Of a factor; none for a summand.
    #[prost(uint32, optional, tag = "4")]
    pub(super) scale: Option<u32>,
}

//! The crate against exact integers: naive products, sums over powers of roots, and big-integer CRT.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

mod crt;
mod galois;
mod ntt;
mod ops;
mod sampling;
mod support;
mod switch;

//! From the `ckks` level to the `plan` level: *in what order*, in which registers, with which keys.
//!
//! [`schedule`] orders and drops what nothing reads, [`registers`] assigns registers by liveness,
//! [`mod@emit`] puts the plan together, with the evaluation keys that it needs.
//! No operation is added or changed here.

pub mod emit;
pub mod registers;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use emit::emit;

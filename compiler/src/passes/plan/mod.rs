//! From the `ckks` level to the `plan` level: *in what order*, in which registers, with which keys.
//!
//! [`schedule`] orders and drops what nothing reads, [`registers`] assigns registers by liveness,
//! [`keys`] lists the evaluation keys, [`mod@emit`] puts the plan together.
//! No operation is added or changed here.

pub mod emit;
pub mod keys;
pub mod registers;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use emit::emit;

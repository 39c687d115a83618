//! The `heplan` command.
fn main() {}

//! Numerical methods of the compiler. They know nothing of graphs.

pub mod chebyshev;

//! One file per command: its options and `run(&Options, &Ui) -> Result<Outcome>`.
//!
//! Commands call each other's steps only through the functions that these files share on purpose
//! (`demo` walks through the others), and print only through [`Ui`](crate::ui::Ui).

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod check_onnx;
pub(crate) mod compile;
pub(crate) mod decrypt;
pub(crate) mod demo;
pub(crate) mod encrypt;
pub(crate) mod explain;
pub(crate) mod given;
pub(crate) mod inspect;
pub(crate) mod keygen;
pub(crate) mod run;

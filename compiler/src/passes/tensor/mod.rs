//! Passes on the `tensor` level: from what the importer gives to polynomials on [-1, 1].
//!
//! The order: [`simplify`], [`fuse_affine`] (functions then read affine maps), [`calibrate`],
//! [`saturate`] and [`temper`] (forms that calibration decides), [`approximate`], [`fuse_affine`] again (absorbs the domain maps of the polynomials),
//! [`calibrate`] again (the polynomials' own outputs), [`normalise`], [`anchor`].
//! A pass takes a graph and returns a new one; it never prints and never looks at layouts.

pub mod anchor;
pub mod approximate;
pub mod calibrate;
mod editor;
pub mod fuse_affine;
pub mod normalise;
pub mod saturate;
pub mod simplify;
pub mod temper;

//! Sums of polynomials times numbers: linear maps whose diagonals are the same in every slot.
//!
//! A number is a constant polynomial, the same residue at every point of evaluation, so that nothing is encoded or
//! transformed. Sums are taken block by block of coefficients: all results read the same block of the operands, which
//! stays in cache, and every residue of a result is reduced once.

use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::kernels;
use crate::keyswitch::by_prime;
use crate::poly::{Form, Poly};
use crate::ring::Ring;

/// Coefficients of a block.
const BLOCK: usize = 512;

/// One product of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Index of the pair.
    pub source: usize,
    /// What both of its polynomials are multiplied by.
    pub factor: i128,
}

/// For every list of terms the sum of pairs times factors over `basis`, in evaluation form; zero for no terms.
///
/// # Panics
/// If a pair lacks a prime of the basis or is not in evaluation form, an index is out of range, or a list has more than
/// 2^20 terms.
#[must_use]
pub fn scalar_sums(
    ring: &Arc<Ring>,
    basis: Basis,
    sources: &[[&Poly; 2]],
    sums: &[Vec<Term>],
) -> Vec<[Poly; 2]> {
    assert!(sums.iter().all(|terms| terms.len() <= 1 << 20), "too many terms for an accumulator");
    let evaluated = sources.iter().flatten().all(|p| p.form() == Form::Evaluation);
    assert!(evaluated, "sums are taken in evaluation form");
    let scratch = || Poly::scratch(ring, basis, Form::Evaluation);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    for (i, pairs) in by_prime(&mut out).into_iter().enumerate() {
        at_prime(ring, basis.prime(i), sources, sums, pairs);
    }
    out
}

/// The sums at one prime, one task per block of coefficients.
fn at_prime(
    ring: &Ring,
    prime: Prime,
    sources: &[[&Poly; 2]],
    sums: &[Vec<Term>],
    pairs: Vec<[&mut [u64]; 2]>,
) {
    let (isa, q) = (ring.isa(), ring.modulus(prime));
    let residues = |terms: &Vec<Term>| -> Vec<(usize, u64)> {
        terms.iter().map(|t| (t.source, q.reduce_i128(t.factor))).collect()
    };
    let residues: Vec<Vec<(usize, u64)>> = sums.par_iter().map(residues).collect();
    let mut blocks: Vec<Vec<[&mut [u64]; 2]>> = Vec::new();
    for [first, second] in pairs {
        for (i, block) in first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK)).enumerate() {
            if blocks.len() == i {
                blocks.push(Vec::new());
            }
            blocks[i].push([block.0, block.1]);
        }
    }
    blocks.into_par_iter().enumerate().for_each(|(i, results)| {
        let mut terms: Vec<(&[u64], u64)> = Vec::new();
        for (result, residues) in results.into_iter().zip(&residues) {
            for (h, out) in result.into_iter().enumerate() {
                let block =
                    |source: usize| &sources[source][h].limb_of(prime)[i * BLOCK..][..out.len()];
                terms.clear();
                terms.extend(residues.iter().map(|&(source, s)| (block(source), s)));
                kernels::linear_combination(isa, q, out, &terms, 0);
            }
        }
    });
}

//! `Einsum`: sums of products over named axes, for any number of operands.
//!
//! With one encrypted operand it is one matrix. With several, each is spread over the space of all
//! names (constants go into the first spreading), they are multiplied, and the names that the
//! result lacks are summed over.

use std::collections::BTreeMap;

use heplan_ir::diagnostic::Code;

use super::array::{elements, strided, strides};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, fault, non_zeros, one};

/// A name of an axis: a letter, or a place within the ellipsis counted from its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Ellipsis(usize),
    Letter(char),
}

/// The names of every operand and of the result.
struct Equation {
    operands: Vec<Vec<Name>>,
    result: Vec<Name>,
}

fn bad(equation: &str) -> Fault {
    fault(Code::BadNode, format!("equation {equation:?} does not fit the operands"))
}

/// The names of one term; `rank` tells how many axes an ellipsis stands for.
fn names(term: &str, rank: Option<usize>, widest: usize) -> Option<Vec<Name>> {
    let letters = term.chars().filter(|c| c.is_alphabetic()).count();
    let covered = match rank {
        Some(rank) => rank.checked_sub(letters)?,
        None => widest,
    };
    let mut out = Vec::new();
    let mut rest = term;
    let mut seen = false;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if seen {
                return None;
            }
            seen = true;
            out.extend((0..covered).rev().map(Name::Ellipsis));
            rest = after;
        } else if c.is_alphabetic() {
            out.push(Name::Letter(c));
            rest = &rest[c.len_utf8()..];
        } else {
            return None;
        }
    }
    (seen || covered == 0 || rank.is_none()).then_some(out)
}

fn parse(text: &str, ranks: &[usize]) -> Result<Equation, Fault> {
    let squeezed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match squeezed.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (squeezed.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return Err(bad(text));
    }
    let operands = terms.iter().zip(ranks).map(|(t, &r)| names(t, Some(r), 0));
    let operands: Vec<Vec<Name>> = operands.collect::<Option<_>>().ok_or_else(|| bad(text))?;
    let ellipsis = |n: &&Name| matches!(n, Name::Ellipsis(_));
    let widest = operands.iter().map(|o| o.iter().filter(ellipsis).count()).max().unwrap_or(0);
    let result = match right {
        Some(right) => names(right, None, widest).ok_or_else(|| bad(text))?,
        None => {
            // Names that occur once, in alphabetical order, behind the ellipsis.
            let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
            operands.iter().flatten().for_each(|n| *counts.entry(*n).or_default() += 1);
            let letters = counts.iter().filter(|(n, c)| matches!(n, Name::Letter(_)) && **c == 1);
            (0..widest).rev().map(Name::Ellipsis).chain(letters.map(|(n, _)| *n)).collect()
        }
    };
    Ok(Equation { operands, result })
}

/// `Einsum`.
pub(super) fn einsum(cx: &mut NodeCx<'_>) -> Emitted {
    let text = cx.attr_text("equation", "")?;
    let shapes = (0..cx.operands.len()).map(|i| cx.shape(i)).collect::<Result<Vec<_>, _>>()?;
    let ranks: Vec<usize> = shapes.iter().map(Vec::len).collect();
    let equation = parse(&text, &ranks)?;
    let mut sizes: BTreeMap<Name, usize> = BTreeMap::new();
    for (names, shape) in equation.operands.iter().zip(&shapes) {
        for (&name, &length) in names.iter().zip(shape) {
            let known = sizes.entry(name).or_insert(length);
            if *known == 1 {
                *known = length;
            }
            if length != 1 && *known != length {
                return Err(fault(
                    Code::ShapeMismatch,
                    format!("shapes {shapes:?} do not fit equation {text:?}"),
                ));
            }
        }
    }
    let repeated =
        (1..equation.result.len()).any(|i| equation.result[..i].contains(&equation.result[i]));
    if repeated || equation.result.iter().any(|n| !sizes.contains_key(n)) {
        return Err(bad(&text));
    }
    let summed: Vec<Name> =
        sizes.keys().copied().filter(|n| !equation.result.contains(n)).collect();
    let all: Vec<Name> = equation.result.iter().chain(&summed).copied().collect();
    let space: Vec<usize> = all.iter().map(|n| sizes[n]).collect();
    let count = elements(&space)?;
    let inner: usize = summed.iter().map(|n| sizes[n]).product();
    non_zeros(count / inner, inner)?;
    let places: Vec<Vec<usize>> = equation
        .operands
        .iter()
        .zip(&shapes)
        .map(|(names, shape)| {
            let own = strides(shape);
            // An axis of length 1 is broadcast; a name that repeats walks the diagonal.
            let step = |n: &Name| -> isize {
                let here = names.iter().zip(shape).zip(&own);
                here.filter(|((m, d), _)| *m == n && **d > 1).map(|(_, s)| *s as isize).sum()
            };
            strided(&space, &all.iter().map(step).collect::<Vec<_>>(), 0)
        })
        .collect();
    let shape: Vec<usize> = equation.result.iter().map(|n| sizes[n]).collect();
    combined(cx, &places, shape, inner)
}

/// `result[r] = Σ_k Π_i operand_i[places_i[r·inner + k]]`.
fn combined(
    cx: &mut NodeCx<'_>,
    places: &[Vec<usize>],
    shape: Vec<usize>,
    inner: usize,
) -> Emitted {
    let count = places.first().map_or(0, Vec::len);
    let mut factor = vec![1.0; count];
    let mut secrets: Vec<(Secret, &[usize])> = Vec::new();
    for (i, places) in places.iter().enumerate() {
        if let Operand::Constant(_) = cx.operand(i)? {
            let (_, values) = cx.weights(i)?;
            factor.iter_mut().zip(places).for_each(|(f, &p)| *f *= values[p]);
        } else {
            secrets.push((cx.secret(i)?, places));
        }
    }
    let (first, rest) = match secrets.split_first() {
        Some(((first, places), rest)) => ((first.clone(), *places), rest.to_vec()),
        None => {
            let sums = factor.chunks(inner).map(|c| c.iter().sum()).collect();
            return super::context::known(super::array::Array {
                shape,
                data: super::array::Data::Float(sums),
            });
        }
    };
    if rest.is_empty() {
        let (x, places) = first;
        return one(cx.matrix(&x, shape, inner, None, |r, row| {
            row.extend((r * inner..(r + 1) * inner).map(|i| (column(places[i]), factor[i])));
        })?);
    }
    let spread = vec![count / inner, inner];
    let (x, places) = first;
    let mut product = cx.matrix(&x, spread.clone(), 1, None, |r, row| {
        row.push((column(places[r]), factor[r]));
    })?;
    for (y, places) in rest {
        let y =
            cx.matrix(&y, spread.clone(), 1, None, |r, row| row.push((column(places[r]), 1.0)))?;
        product = cx.product(&product, &y);
    }
    one(cx.matrix(&product, shape, inner, None, |r, row| {
        row.extend((r * inner..(r + 1) * inner).map(|i| (column(i), 1.0)));
    })?)
}

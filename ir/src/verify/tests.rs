//! Random sound graphs pass; one test per invariant breaks a sound graph and reads the message.

use proptest::prelude::*;

use crate::ckks::{CtType, Op};
use crate::constants::Constant;
use crate::entity::{ConstId, OriginId, RegId, ValueId};
use crate::scale::Scale;
use crate::testing::{self, Dice};
use crate::transform::LinearTransform;
use crate::verify::VerifierError;
use crate::{plan, slots, tensor};

fn dice() -> Dice {
    Dice::new(&[31, 41_592_653, 58_979_323, 846_264, 338_327_950, 288_419, 716_939_937])
}

fn said(errors: Vec<VerifierError>, wanted: &str) {
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(all.iter().any(|e| e.contains(wanted)), "{wanted:?} in {all:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sound_graphs_pass(rolls in prop::collection::vec(any::<u32>(), 1..80), steps in 0usize..30) {
        let dice = || Dice::new(&rolls);
        prop_assert_eq!(testing::tensor_graph(&mut dice(), steps).verify(), vec![]);
        prop_assert_eq!(testing::slots_graph(&mut dice(), steps).verify(), vec![]);
        prop_assert_eq!(testing::ckks_graph(&mut dice(), steps).verify(), vec![]);
        prop_assert_eq!(testing::plan(&mut dice(), steps).verify(), vec![]);
    }
}

/// `%0 = input [2, 2]`, `%1 = input [3]`.
fn two_inputs() -> tensor::Graph {
    let mut g = tensor::Graph::default();
    for (name, shape) in [("a", vec![2, 2]), ("b", vec![3])] {
        g.push(tensor::Op::Input { name: name.into() }, shape, OriginId::new(0));
    }
    g.outputs.push(("y".into(), ValueId::new(1)));
    g
}

#[test]
fn tensor_breaches_are_all_listed() {
    let (v, c) = (ValueId::new, ConstId::new);
    let breach = |op: tensor::Op, wanted: &str| {
        let mut g = two_inputs();
        g.consts.add_matrix(crate::matrix::SparseMatrix::identity(4));
        g.consts.add_vector(vec![1.0; 3]);
        g.push(op, vec![2, 2], OriginId::new(0));
        said(g.verify(), wanted);
    };
    let affine =
        |terms: &[(ValueId, ConstId)], bias| tensor::Op::Affine { terms: terms.to_vec(), bias };
    breach(tensor::Op::Product { a: v(0), b: v(1) }, "%1 has shape [3], the result [2, 2]");
    breach(tensor::Op::Product { a: v(0), b: v(2) }, "%2 is not defined before its use");
    breach(tensor::Op::Input { name: "a".into() }, "another input is named \"a\"");
    breach(affine(&[(v(1), c(0))], None), "matrix of %1 is 4 x 4 instead of 4 x 3");
    breach(affine(&[(v(0), c(0)), (v(0), c(0))], None), "%0 occurs twice");
    breach(affine(&[(v(0), c(0))], Some(c(1))), "bias has 3 numbers for 4 elements");
    breach(affine(&[(v(0), c(1))], None), "const1 is not a matrix");
    breach(affine(&[], None), "there is no term");
    let function = crate::function::Function::Elu { alpha: f64::NAN };
    breach(tensor::Op::Function { x: v(0), function }, "alpha is NaN");
    let function = crate::function::Function::Clip { min: 1.0, max: 0.0 };
    breach(tensor::Op::Function { x: v(0), function }, "bounds 1 and 0 are not in order");
    breach(tensor::Op::Polynomial { x: v(0), polynomials: c(0) }, "const0 is not a polynomial set");

    let mut g = two_inputs();
    g.outputs = vec![("y".into(), v(7)), ("y".into(), v(0))];
    g.values[0].shape = vec![usize::MAX, 3];
    g.values[1].origin = OriginId::new(4);
    g.consts.add_vector(vec![f64::NAN]);
    let errors = g.verify();
    for wanted in [
        "output 0 (y): %7 does not exist",
        "output 1 (y): another output has the same name",
        "has no element or too many",
        "origin @4 does not exist",
        "entry 0 is NaN",
    ] {
        said(errors.clone(), wanted);
    }
}

#[test]
fn slots_breaches_are_all_listed() {
    let good = testing::slots_graph(&mut dice(), 4);
    let x = ValueId::new(0);
    let breach = |op: slots::Op, results: usize, wanted: &str| {
        let mut g = good.clone();
        let t = LinearTransform { width: 32, period: 4, inputs: 1, outputs: 2, diagonals: vec![] };
        g.consts.add(Constant::Transform(t.into()));
        g.push(op, results, OriginId::new(0));
        said(g.verify(), wanted);
    };
    let transform = ConstId::new(good.consts.len());
    let linear = slots::Op::Linear { xs: vec![x, x], transform };
    breach(linear.clone(), 1, "1 results instead of 2");
    breach(linear.clone(), 2, "2 operands for 1 inputs");
    breach(linear, 2, "transform of width 32 in a width of 64");
    breach(slots::Op::Rotate { x, by: 64 }, 1, "rotation by 64 in a width of 64");
    breach(slots::Op::Input { input: 0, part: 0 }, 1, "part 0 is read twice");
    breach(slots::Op::Input { input: 0, part: 5 }, 1, "part 5 of 1 ciphertexts");
    breach(slots::Op::AddConst { x, constant: transform }, 1, "is not a vector");
    let mut g = good.clone();
    g.insts[0].results[0] = ValueId::new(3);
    g.values += 1;
    said(g.verify(), "result %3 should be %0");
    said(g.verify(), "values counted");
    let mut g = good.clone();
    g.outputs[0].1.push(x);
    said(g.verify(), "2 values for 1 ciphertexts");
    let mut g = good;
    g.inputs[0].layout.width = 32;
    g.inputs[0].factor = 0.0;
    said(g.verify(), "layout of width 32, ciphertexts of 64 slots");
    said(g.verify(), "factor 0 is not a positive number");
}

#[test]
fn ckks_types_follow_the_rules_exactly() {
    let good = testing::ckks_graph(&mut dice(), 0);
    let x = ValueId::new(0);
    let q4 = good.parameters.q()[4];
    let ty = |level, scale: &Scale, degree| CtType { degree, ..CtType::new(level, scale.clone()) };
    let (delta, square) = (Scale::pow2(30), Scale::pow2(60));
    let breach = |op: Op<ValueId>, ty: CtType, wanted: &str| {
        let mut g = good.clone();
        g.push(op, 1, ty, OriginId::new(0));
        said(g.verify(), wanted);
    };
    breach(
        Op::Mul { a: x, b: x },
        ty(4, &square, 1),
        "the rule gives ct<level = 4, scale = 60, degree = 2>",
    );
    breach(Op::Rescale { x }, ty(3, &Scale::pow2(0), 1), "the rule gives ct<level = 3");
    breach(Op::Relinearise { x }, ty(4, &delta, 1), "degree 1 where 2 is needed");
    breach(Op::DropLevel { x, level: 4 }, ty(4, &delta, 1), "cannot drop from level 4 to level 4");
    breach(Op::Rotate { x, by: 0 }, ty(4, &delta, 1), "rotation by 0");
    breach(Op::RotateAdd { x, by: 8192, y: x }, ty(4, &delta, 1), "rotation by 8192");
    breach(Op::Add { a: x, b: ValueId::new(9) }, ty(4, &delta, 1), "%9 is not defined");
    breach(Op::Input { input: 7, part: 0 }, ty(4, &delta, 1), "input 7 of");
    breach(Op::Rotate { x, by: 1 }, ty(5, &delta, 1), "level 5 is above the highest level 4");
    let drift = delta.mul(&Scale::prime(q4)).mul(&delta).rescaled(good.parameters.q()[3]);
    breach(
        Op::MulPlain { x, plain: crate::ckks::Plain::Scalar(1.0), scale: Scale::prime(q4) },
        ty(4, &drift, 1),
        "the rule gives",
    );
    let mut g = good.clone();
    g.push(Op::DropLevel { x, level: 0 }, 1, ty(0, &delta, 1), OriginId::new(0));
    let low = ValueId::new(g.values - 1);
    g.push(Op::Add { a: x, b: low }, 1, ty(0, &delta, 1), OriginId::new(0));
    g.push(Op::RotateAdd { x: low, by: 1, y: x }, 1, ty(0, &delta, 1), OriginId::new(0));
    g.push(Op::Rescale { x: low }, 1, ty(0, &delta, 1), OriginId::new(0));
    let unequal =
        g.verify().iter().filter(|e| e.to_string().contains("exactly equal type")).count();
    assert_eq!(unequal, 2, "of the sum and of the rotation with a sum");
    said(g.verify(), "no prime is left");
    breach(Op::ModDown { x }, ty(4, &delta, 1), "has no division to come");
    let extended = |level| CtType { extended: true, ..ty(level, &delta, 1) };
    breach(Op::Rotate { x, by: 1 }, extended(4), "degree 1 and level 4 cannot be extended");
    let mut g = good.clone();
    g.push(Op::DropLevel { x, level: 1 }, 1, extended(1), OriginId::new(0));
    let x1 = ValueId::new(g.values - 1);
    g.push(Op::Rotate { x: x1, by: 1 }, 1, extended(1), OriginId::new(0));
    g.push(Op::RotateAdd { x: x1, by: 1, y: x1 }, 1, extended(1), OriginId::new(0));
    g.push(Op::ModDown { x: x1 }, 1, ty(1, &delta, 1), OriginId::new(0));
    assert_eq!(g.verify().len(), 1, "only the drop is wrong: {:?}", g.verify());
    g.push(Op::Rescale { x: x1 }, 1, ty(0, &delta, 1), OriginId::new(0));
    said(g.verify(), "is extended, which only sums, rotations and ModDown take");
    let mut g = good.clone();
    g.insts[0].ty.scale = Scale::pow2(200);
    said(g.verify(), "is not between 1 and the modulus");
}

#[test]
fn plan_breaches_are_all_listed() {
    let good = testing::small_plan();
    assert_eq!(good.verify(), []);
    let mut p = good.clone();
    p.insts[0].frees = p.insts[0].results.clone();
    said(p.verify(), "holds nothing");
    let mut p = good.clone();
    p.registers += 1;
    let fresh = RegId::new(p.registers - 1);
    p.insts[1].frees.push(fresh);
    said(p.verify(), "is freed but holds nothing");
    let mut p = good.clone();
    let again = plan::Inst { op: Op::Input { input: 0, part: 0 }, ..p.insts[0].clone() };
    p.insts.insert(1, again);
    said(p.verify(), "part 0 is read twice");
    let mut p = good.clone();
    // The input is read by the copy, then overwritten while a later instruction wants it.
    let kept = p.insts[0].results[0];
    let fresh = RegId::new(p.registers);
    p.registers += 1;
    let copy = plan::Inst {
        op: Op::Rotate { x: kept, by: 1 },
        results: vec![fresh],
        ..p.insts[0].clone()
    };
    let lost =
        plan::Inst { op: Op::Rotate { x: fresh, by: 1 }, results: vec![kept], ..copy.clone() };
    p.insts.splice(1..1, [copy, lost]);
    said(p.verify(), "is overwritten while it holds a value");
    let mut p = good.clone();
    let output = p.outputs[0].2[0];
    p.insts.last_mut().unwrap().frees.push(output);
    said(p.verify(), "holds nothing at the end");
    let mut p = good.clone();
    p.keys[0].level -= 1;
    said(p.verify(), "is used up to level");
    let mut p = good.clone();
    p.inputs[0].0.compact.rotations = u32::MAX;
    p.outputs[0].0.compact.conjugate = true;
    said(p.verify(), "4294967295 halvings, the layout repeats for");
    said(p.verify(), "an output leaves out nothing");
    let mut p = good.clone();
    p.keys.remove(0);
    said(p.verify(), "is missing");
    let mut p = good.clone();
    p.keys.reverse();
    said(p.verify(), "keys are not sorted");
    let mut p = good.clone();
    p.inputs[0].1.scale = Scale::pow2(29);
    said(p.verify(), "other parts of the input are");
    let mut p = good.clone();
    p.consts.add_matrix(crate::matrix::SparseMatrix::identity(2));
    p.registers = 1 << 40;
    said(p.verify(), "a plan holds transforms and vectors only");
    said(p.verify(), "more than results");
}

#[test]
fn unsound_constants_are_named() {
    let mut t = testing::transform(&mut dice(), 64, 1);
    assert_eq!(t.problems(), Vec::<String>::new());
    t.diagonals[0].slots[0] = 99;
    t.diagonals.push(t.diagonals[0].clone());
    t.width = 63;
    let all = t.problems().join("; ");
    for wanted in ["powers of two", "is not after the one before it", "diagonal 0: "] {
        assert!(all.contains(wanted), "{wanted} in {all}");
    }
    let mut m = crate::matrix::SparseMatrix::identity(3);
    m.col[1] = 7;
    m.val[2] = 0.0;
    assert_eq!(m.problems().len(), 2);
    m.start[1] = 9;
    assert_eq!(m.problems().len(), 1);
}

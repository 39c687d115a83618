use proptest::prelude::*;

use crate::constants::ConstPool;
use crate::entity::{OriginId, ValueId};
use crate::origin::OriginTable;
use crate::testing::{self, Dice};
use crate::{ckks, plan, slots, tensor};

/// Replaces the origins of a graph by those that parsing makes of their labels.
fn relabel<'a>(table: &mut OriginTable, origins: impl Iterator<Item = &'a mut OriginId>) {
    let labels = table.labels();
    *table = OriginTable::default();
    origins.for_each(|o| *o = table.labelled(&labels[o.index()]));
}

fn relabel_plan(plan: &mut plan::Plan) {
    let mut table = vec![String::new()];
    for inst in &mut plan.insts {
        let label = plan.origins[inst.origin as usize].clone();
        let at = table.iter().position(|l| *l == label).unwrap_or_else(|| {
            table.push(label);
            table.len() - 1
        });
        inst.origin = at as u32;
    }
    plan.origins = table;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parsing_undoes_printing(rolls in prop::collection::vec(any::<u32>(), 1..80), steps in 0usize..30) {
        let dice = || Dice::new(&rolls);
        let mut t = testing::tensor_graph(&mut dice(), steps);
        relabel(&mut t.origins, t.values.iter_mut().map(|v| &mut v.origin));
        prop_assert_eq!(tensor::Graph::parse(&t.to_string(), &t.consts).unwrap(), t);
        let mut s = testing::slots_graph(&mut dice(), steps);
        relabel(&mut s.origins, s.insts.iter_mut().map(|i| &mut i.origin));
        prop_assert_eq!(slots::Graph::parse(&s.to_string(), &s.consts).unwrap(), s);
        let mut c = testing::ckks_graph(&mut dice(), steps);
        relabel(&mut c.origins, c.insts.iter_mut().map(|i| &mut i.origin));
        prop_assert_eq!(ckks::Graph::parse(&c.to_string(), &c.consts).unwrap(), c);
        let mut p = testing::plan(&mut dice(), steps);
        relabel_plan(&mut p);
        prop_assert_eq!(plan::Plan::parse(&p.to_string(), &p.consts).unwrap(), p);
    }

    #[test]
    fn damaged_texts_are_refused_or_read(
        rolls in prop::collection::vec(any::<u32>(), 1..40),
        at in any::<prop::sample::Index>(),
        with in "[ -~]{0,3}",
    ) {
        let dice = || Dice::new(&rolls);
        let (t, s) = (testing::tensor_graph(&mut dice(), 8), testing::slots_graph(&mut dice(), 8));
        let (c, p) = (testing::ckks_graph(&mut dice(), 8), testing::plan(&mut dice(), 8));
        let damage = |text: String| {
            let chars: Vec<char> = text.chars().collect();
            let cut = at.index(chars.len());
            let (front, back) = (&chars[..cut], &chars[cut + 1..]);
            [front.iter().collect::<String>(), with.clone(), back.iter().collect()].concat()
        };
        let _ = tensor::Graph::parse(&damage(t.to_string()), &t.consts).map(|g| g.verify());
        let _ = slots::Graph::parse(&damage(s.to_string()), &s.consts).map(|g| g.verify());
        let _ = ckks::Graph::parse(&damage(c.to_string()), &c.consts).map(|g| g.verify());
        let _ = plan::Plan::parse(&damage(p.to_string()), &p.consts).map(|p| p.verify());
    }
}

#[test]
fn every_line_has_type_and_origin() {
    let mut g = tensor::Graph { name: "mnist".into(), ..tensor::Graph::default() };
    let x = g.push(tensor::Op::Input { name: "image".into() }, vec![1, 2], OriginTable::none());
    let m = g.consts.add_matrix(crate::matrix::SparseMatrix::identity(2));
    let origin = g.origins.labelled("/fc/Gemm");
    let y = g.push(tensor::Op::Affine { terms: vec![(x, m)], bias: None }, vec![2], origin);
    g.outputs.push(("scores".into(), y));
    let hash = g.consts.hash(m);
    let wanted = [
        "tensor \"mnist\" {".to_owned(),
        format!("  {:<50} : {:<28} @ \"\"", "%0 = input \"image\"", "real[1, 2]"),
        format!("  {:<50} : {:<28} @ \"/fc/Gemm\"", format!("%1 = affine {hash} * %0"), "real[2]"),
        "  output \"scores\" = %1\n}\n".to_owned(),
    ]
    .join("\n");
    assert_eq!(g.to_string(), wanted);
}

#[test]
fn parse_errors_name_the_line_and_what_was_expected() {
    let none = ConstPool::default();
    let of = |text: &str| tensor::Graph::parse(text, &none).unwrap_err().to_string();
    assert_eq!(of("slots"), "line 1: expected `tensor`, found \"slots\"");
    let head = "tensor \"m\" {\n; a comment\n";
    assert_eq!(
        of(&format!("{head}  %1 = input \"x\" : real[] @ \"\"\n")),
        "line 3: expected %0, found \"%1 = input \\\"x\\\" : real[] @ \\\"\\\"\""
    );
    assert_eq!(
        of(&format!("{head}  %0 = elu %0 : real[] @ \"\"\n")),
        "line 3: expected an operation on tensors with its parameters, \
         found \" elu %0 : real[] @ \\\"\\\"\""
    );
    assert_eq!(
        of(&format!("{head}  %0 = polynomial #12345678, %0 : real[] @ \"\"")),
        "line 3: expected a constant of the pool, found \" #12345678, %0 : real[] @ \\\"\\\"\""
    );
    assert!(of(&format!("{head}}}")).contains("line 3: expected an output"));
    assert!(of(head).contains("expected"));
}

#[test]
fn errors_stand_under_their_lines_and_the_text_still_parses() {
    let mut g = testing::slots_graph(&mut Dice::new(&[5, 1 << 20, 77]), 2);
    g.push(slots::Op::Rotate { x: ValueId::new(0), by: 640 }, 1, OriginTable::none());
    let text = g.render_errors(&g.verify());
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|l| l.contains("{by = 640}")).unwrap();
    assert_eq!(lines[at + 1], "  ; error: rotation by 640 in a width of 64");
    let verdict = "; 1 broken invariant: this is a bug in heplan, not in the model";
    assert_eq!(lines.last(), Some(&verdict));
    assert!(slots::Graph::parse(&text, &g.consts).is_ok());
}

#[test]
fn samples_per_ciphertext_survive_the_text() {
    let plan = testing::small_plan();
    let text = plan.to_string().replacen("parameters {", "parameters {batch = 4, ", 1);
    let read = plan::Plan::parse(&text, &plan.consts).unwrap();
    assert_eq!((read.parameters.batch(), read.parameters.width()), (4, 1024));
    assert_eq!(read.to_string(), text);
    assert!(!read.verify().is_empty(), "its layouts are as wide as a ciphertext");
    let odd = text.replacen("batch = 4", "batch = 5", 1);
    assert!(plan::Plan::parse(&odd, &plan.consts).is_err());
}

//! How much of its fresh ciphertexts each input leaves out ([`Compact`]).
//!
//! *What*: every halving of what the client sends is one rotation of the input, on the server, and its key. Whether slots
//! repeat is the layout's to say; that they are real is always so.
//!
//! *Why here*: layouts are chosen, so that it is known how often slots repeat and which keys folds and steps need anyway;
//! and lowering, which writes the rotations, is still to come.
//!
//! *Cost and precision*: the message is halved as often as the ciphertext, so that the error of encryption weighs more:
//! twice as much for conjugation, and its root for the others. It is far below the noise of what follows.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::parameters::Parameters;
use heplan_ir::slots::{Compact, Graph, Op, Port};

use super::levels::{Levels, consumption};
use crate::cost::{Costs, Place, Work, bytes_of_key};

/// What a choice is weighed by.
#[derive(Clone, Copy, Debug)]
pub struct Worth<'a> {
    /// Those that the ring is estimated under.
    pub parameters: &'a Parameters,
    /// What operations cost.
    pub costs: &'a Costs,
    /// What a byte of keys is worth in seconds of a run.
    pub key_price: f64,
    /// The same of a byte of input.
    pub input_price: f64,
}

/// Chooses for every input of `graph` what costs least.
pub fn choose(graph: &mut Graph, worth: Worth<'_>) {
    let levels = Levels::of(graph);
    let mut keys = rotations(graph, &levels);
    for (i, port) in graph.inputs.iter_mut().enumerate() {
        let level = levels.input(i).min(worth.parameters.max_level());
        let all = (0..=port.most_rotations())
            .flat_map(|rotations| [false, true].map(|conjugate| Compact { rotations, conjugate }));
        let cost = |compact| worth.of(&Port { compact, ..port.clone() }, level, &keys);
        let best = all.map(|compact| (cost(compact), compact)).min_by(|a, b| a.0.total_cmp(&b.0));
        port.compact = best.map_or(Compact::NONE, |(_, compact)| compact);
        for step in port.compact.steps(port.layout.width) {
            let reached = keys.entry(step).or_insert(level);
            *reached = level.max(*reached);
        }
    }
}

/// The rotations that a graph takes, each with the highest level of its use.
fn rotations(graph: &Graph, levels: &Levels) -> BTreeMap<u32, usize> {
    let mut keys: BTreeMap<u32, usize> = BTreeMap::new();
    for inst in &graph.insts {
        let Some(level) = inst.results.iter().find_map(|&r| levels.value(r)) else { continue };
        let level = level + consumption(graph, &inst.op);
        let steps = match &inst.op {
            Op::Rotate { by, .. } => [*by].into(),
            Op::Linear { transform, .. } => graph.consts.transform(*transform).steps(),
            Op::Input { .. }
            | Op::Add { .. }
            | Op::AddConst { .. }
            | Op::Product { .. }
            | Op::Polynomial { .. }
            | Op::Bootstrap { .. } => BTreeSet::new(),
        };
        for step in steps {
            let reached = keys.entry(step).or_insert(level);
            *reached = level.max(*reached);
        }
    }
    keys
}

impl Worth<'_> {
    /// Seconds that an input at a level is worth, with `keys` at hand.
    fn of(&self, port: &Port, level: usize, keys: &BTreeMap<u32, usize>) -> f64 {
        let parameters = self.parameters;
        let place = Place::of(parameters, level);
        let bytes = port.fresh_bytes(parameters.n(), parameters.packed_bits_at(level));
        let turn = self.costs.seconds(&(Work::rotate(&place) + Work::add(&place, 1)));
        let key = |level: usize| {
            let expanded = self.costs.seconds(&Work::expand_key(&Place::of(parameters, level)));
            expanded + self.key_price * bytes_of_key(parameters, level) as f64
        };
        let step = |by: u32| {
            let more = match keys.get(&by) {
                Some(&reached) if reached >= level => 0.0,
                Some(&reached) => key(level) - key(reached),
                None => key(level),
            };
            turn * port.layout.ciphertexts() as f64 + more
        };
        let steps = port.compact.steps(port.layout.width).map(step);
        self.input_price * bytes as f64 + steps.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use heplan_ir::constants::Constant;
    use heplan_ir::entity::OriginId;
    use heplan_ir::layout::Layout;
    use heplan_ir::transform::LinearTransform;
    use std::sync::Arc;

    use super::*;
    use crate::passes::ckks::parameters::candidates;
    use crate::passes::ckks::testing::run_graph;
    use crate::passes::ckks::{Waterline, lower};

    const WIDTH: usize = 4096;

    /// A rotation by half the slots after a linear map of an input that repeats `copies` times.
    fn graph(copies: usize) -> Graph {
        let none = OriginId::new(0);
        let port = |name: &str, elements| Port {
            name: name.into(),
            shape: vec![1, elements],
            layout: Layout::row_major(elements, WIDTH),
            factor: 1.0,
            range: (-1.0, 1.0),
            compact: Compact::NONE,
        };
        let mut g = Graph { width: WIDTH, ..Graph::default() };
        g.inputs.push(port("x", WIDTH / copies));
        let x = g.push(Op::Input { input: 0, part: 0 }, 1, none)[0];
        let nothing = LinearTransform {
            width: WIDTH,
            period: 1,
            inputs: 1,
            outputs: 1,
            diagonals: Vec::new(),
        };
        let transform = g.consts.add(Constant::Transform(Arc::new(nothing)));
        let y = g.push(Op::Linear { xs: vec![x], transform }, 1, none)[0];
        let turned = g.push(Op::Rotate { x: y, by: WIDTH as u32 / 2 }, 1, none)[0];
        let sum = g.push(Op::Add { a: x, b: x }, 1, none)[0];
        g.outputs = vec![(port("y", WIDTH), vec![turned]), (port("z", WIDTH), vec![sum])];
        g
    }

    fn chosen(copies: usize, key_price: f64, input_price: f64) -> Compact {
        let mut g = graph(copies);
        let set = candidates(13, 1, 30, 3).remove(0);
        let costs = Costs::default();
        choose(&mut g, Worth { parameters: &set, costs: &costs, key_price, input_price });
        g.inputs[0].compact
    }

    #[test]
    fn the_price_of_a_byte_decides() {
        let compact = |rotations, conjugate| Compact { rotations, conjugate };
        assert_eq!(chosen(8, 1e-9, 0.0), Compact::NONE);
        assert_eq!(chosen(8, 1e-9, 1.0), compact(3, true));
        assert_eq!(chosen(1, 1e-9, 1.0), compact(0, true), "slots do not repeat");
        assert_eq!(chosen(1, 1.0, 1e-9), Compact::NONE, "keys are dear");
        // A key that is there up to the level below costs less than one that is not.
        assert_eq!(chosen(8, 1e-6, 3e-6), compact(1, false));
    }

    #[test]
    fn an_input_is_made_whole_before_it_is_read() {
        let set = candidates(13, 1, 30, 3).remove(0);
        let compact = Compact { rotations: 2, conjugate: true };
        let mut g = graph(4);
        g.inputs[0].compact = compact;
        let tensor: Vec<f64> = (0..WIDTH / 4).map(|i| (i as f64 * 0.7).sin()).collect();
        let lowered = lower(&g, &set, Waterline::even(30)).unwrap();
        let found = run_graph(&lowered, &vec![g.inputs[0].pack(&tensor)]);
        for (t, x) in found[1][0].slots.iter().enumerate() {
            assert!((x - 2.0 * tensor[t % tensor.len()]).abs() < 1e-12);
        }
        let rotations = lowered.insts.iter().filter_map(|i| match i.op {
            heplan_ir::ckks::Op::Rotate { by, .. } => Some((by, i.ty.level)),
            _ => None,
        });
        let half = WIDTH as u32 / 2;
        let all = [(WIDTH as u32, 1), (half, 1), (half / 2, 1), (half, 0)];
        assert_eq!(rotations.collect::<Vec<_>>(), all);
    }
}

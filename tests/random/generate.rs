//! Makes a model and, step by step, what it should answer.

use crate::evaluate::{Tensor, broadcast, tensor, zip};
use crate::onnx::{Attribute, Onnx};
use crate::random::Random;
use crate::steps;

/// Samples that go through every graph.
pub(crate) const SAMPLES: usize = 20;
/// Most elements of a tensor.
const LARGEST: usize = 400;
/// A value whose elements are larger is scaled down.
const REACH: f64 = 4.0;
/// Most levels, about: functions count four.
const DEEPEST: u32 = 14;

/// A value of the graph on every sample.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) samples: Vec<Tensor>,
    pub(crate) depth: u32,
}

impl Value {
    pub(crate) fn shape(&self) -> &[usize] {
        self.samples[0].shape()
    }

    fn magnitude(&self) -> f64 {
        self.samples.iter().flatten().fold(0.0, |m, x| m.max(x.abs()))
    }

    /// Whether samples differ: what does not cannot be told from noise.
    fn varies(&self) -> bool {
        let all = || self.samples.iter().flatten();
        let range = all().fold(f64::MIN, |m, x| m.max(*x)) - all().fold(f64::MAX, |m, x| m.min(*x));
        let first = &self.samples[0];
        let moved = |s: &Tensor| first.iter().zip(s).any(|(a, b)| (a - b).abs() > 0.05 * range);
        range > 1e-2 && self.samples[1..].iter().any(moved)
    }
}

/// A model under construction.
#[derive(Debug)]
pub(crate) struct Builder {
    onnx: Onnx,
    pub(crate) random: Random,
    pub(crate) values: Vec<Value>,
    inputs: usize,
    /// What was done, for people.
    pub(crate) steps: Vec<String>,
    constants: usize,
}

/// A finished model.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) model: Vec<u8>,
    /// By input, then by sample.
    pub(crate) inputs: Vec<Vec<Tensor>>,
    /// By sample, for the one output.
    pub(crate) wanted: Vec<Tensor>,
    pub(crate) steps: Vec<String>,
}

/// The model of a seed; `None` if nothing came of it that varies.
pub(crate) fn case(seed: u64) -> Option<Case> {
    let mut builder = Builder::new(seed);
    let steps = builder.random.from(3, 9);
    for _ in 0..8 * steps {
        if builder.steps.len() >= steps {
            break;
        }
        let step = *builder.random.pick(steps::ALL);
        // `None` is a step that does not fit.
        let _ = step(&mut builder);
    }
    builder.finish()
}

fn signed(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

impl Builder {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut onnx = Onnx::new();
        let mut values = Vec::new();
        let inputs = if random.once_in(4) { 2 } else { 1 };
        for i in 0..inputs {
            let shape = shape(&mut random);
            let name = format!("in{i}");
            onnx = onnx.input(&name, &signed(&shape));
            let sample = |_| tensor(&shape, |_| random.number(-1.0, 1.0));
            values.push(Value { name, samples: (0..SAMPLES).map(sample).collect(), depth: 0 });
        }
        let mut builder = Self { onnx, random, values, inputs, steps: Vec::new(), constants: 0 };
        // What is known in advance goes through the same operators.
        if builder.random.once_in(4) {
            let shape = shape(&mut builder.random);
            let (name, value) = builder.weights(&shape, 1.0);
            builder.values.push(Value { name, samples: vec![value; SAMPLES], depth: 0 });
        }
        builder
    }

    /// A value, rather a recent one.
    pub(crate) fn any(&mut self) -> Value {
        let n = self.values.len();
        let back = self.random.below(n).min(self.random.below(n));
        self.values[n - 1 - back].clone()
    }

    /// A value with the property.
    pub(crate) fn such(&mut self, is: impl Fn(&Value) -> bool) -> Option<Value> {
        let fitting: Vec<usize> = (0..self.values.len()).filter(|&i| is(&self.values[i])).collect();
        let i = *fitting.last()?;
        let other = *self.random.pick(&fitting);
        Some(self.values[if self.random.once_in(2) { i } else { other }].clone())
    }

    /// A float initialiser.
    pub(crate) fn constant(&mut self, value: &Tensor) -> String {
        let name = self.fresh();
        let data: Vec<f32> = value.iter().map(|&x| x as f32).collect();
        self.onnx = std::mem::take(&mut self.onnx).weight(&name, &signed(value.shape()), &data);
        name
    }

    /// A float initialiser of numbers up to `reach`.
    pub(crate) fn weights(&mut self, shape: &[usize], reach: f64) -> (String, Tensor) {
        let value = tensor(shape, |_| self.random.number(-reach, reach));
        (self.constant(&value), value)
    }

    /// An integer initialiser.
    pub(crate) fn integers(&mut self, data: &[i64]) -> String {
        let name = self.fresh();
        self.onnx = std::mem::take(&mut self.onnx).integers(&name, data);
        name
    }

    /// An initialiser of truth values.
    pub(crate) fn condition(&mut self, shape: &[usize], data: &[bool]) -> String {
        let name = self.fresh();
        let raw: Vec<u8> = data.iter().map(|&b| b.into()).collect();
        self.onnx = std::mem::take(&mut self.onnx).typed(&name, &signed(shape), 9, &raw);
        name
    }

    fn fresh(&mut self) -> String {
        self.constants += 1;
        format!("c{}", self.constants)
    }

    /// Adds a node of one result, which is `samples`.
    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        samples: Vec<Tensor>,
        depth: u32,
    ) -> Option<()> {
        self.nodes(op, inputs, attributes, vec![samples], depth)
    }

    /// Adds a node of several results.
    pub(crate) fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        results: Vec<Vec<Tensor>>,
        depth: u32,
    ) -> Option<()> {
        self.add(op, inputs, attributes, results, depth)?;
        self.tame()
    }

    /// Adds a node of several results, whatever their magnitude.
    fn add(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        results: Vec<Vec<Tensor>>,
        depth: u32,
    ) -> Option<()> {
        let fits = |r: &Vec<Tensor>| (1..=LARGEST).contains(&r[0].len()) && r[0].ndim() <= 5;
        let finite = |r: &Vec<Tensor>| r.iter().flatten().all(|x| x.is_finite());
        if depth > DEEPEST || !results.iter().all(|r| fits(r) && finite(r)) {
            return None;
        }
        let first = self.values.len();
        let names: Vec<String> = (0..results.len()).map(|i| format!("v{}", first + i)).collect();
        let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
        self.onnx = std::mem::take(&mut self.onnx).any_node(op, inputs, &outputs, attributes);
        let shapes: Vec<&[usize]> = results.iter().map(|r| r[0].shape()).collect();
        self.steps.push(format!("{outputs:?} = {op} {inputs:?} {attributes:?} of {shapes:?}"));
        for (name, samples) in names.into_iter().zip(results) {
            self.values.push(Value { name, samples, depth });
        }
        Some(())
    }

    /// Scales the last value down if it is large.
    fn tame(&mut self) -> Option<()> {
        let last = self.values.last()?.clone();
        let magnitude = last.magnitude();
        if magnitude <= REACH {
            return Some(());
        }
        let factor = f64::from((1.0 / magnitude) as f32);
        let name = self.constant(&tensor(&[1], |_| factor));
        let samples = last.samples.iter().map(|s| s * factor).collect();
        self.node("Mul", &[&last.name, &name], &[], samples, last.depth)
    }

    /// Multiples of a value, so large that their exponentials span decades.
    pub(crate) fn steep(&mut self, x: &Value) -> Option<Value> {
        let factor = self.random.number(6.0, 9.0) / x.magnitude().max(1e-3);
        let factor = f64::from(factor as f32);
        let name = self.constant(&tensor(&[1], |_| factor));
        let samples = x.samples.iter().map(|s| s * factor).collect();
        self.add("Mul", &[&x.name, &name], &[], vec![samples], x.depth)?;
        self.values.last().cloned()
    }

    /// An element-wise operator of two values.
    pub(crate) fn pair(
        &mut self,
        op: &str,
        (a, b): (&Value, &Value),
        f: impl Fn(f64, f64) -> f64,
        cost: u32,
    ) -> Option<()> {
        broadcast(a.shape(), b.shape())?;
        let both = a.samples.iter().zip(&b.samples);
        let samples = both.map(|(x, y)| zip(x, y, &f)).collect::<Option<_>>()?;
        let depth = a.depth.max(b.depth) + cost;
        self.node(op, &[&a.name, &b.name], &[], samples, depth)
    }

    fn finish(mut self) -> Option<Case> {
        let inputs = self.inputs;
        let made = |v: &Value| v.name.starts_with('v') && v.varies();
        let output = self.values.iter().rev().find(|v| made(v))?.clone();
        let shape = signed(output.shape());
        self.onnx = std::mem::take(&mut self.onnx).output(&output.name, &shape);
        let inputs = self.values.drain(..inputs).map(|v| v.samples).collect();
        let steps = self.steps;
        Some(Case { model: self.onnx.encode(), inputs, wanted: output.samples, steps })
    }
}

/// An input's shape: rows of features, series, or small images.
fn shape(random: &mut Random) -> Vec<usize> {
    match random.below(4) {
        0 => vec![1, random.from(2, 12)],
        1 => vec![1, random.from(2, 5), random.from(2, 8)],
        _ => vec![1, *random.pick(&[1, 2, 3, 4]), random.from(3, 7), random.from(3, 7)],
    }
}

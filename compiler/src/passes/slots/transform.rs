//! Builds the diagonals of an affine map between two layouts, and chooses how its steps are taken.

use heplan_ir::layout::Layout;
use heplan_ir::transform::{Diagonal, LinearTransform};

use super::columns::Run;
use super::count::Survey;
use super::routing::{Folding, Placed, Route};
use super::source::{Source, Term, combinations};
use super::steps::{Arity, Choice, Hops, Keys, all_moduli, choose, moduli};
use super::weights::Weights;

/// A transform ready for the graph.
pub(super) struct Built {
    /// Per term, the sums over its ciphertexts before the transform.
    pub(super) runs: Vec<Vec<Run>>,
    /// The diagonals; inputs are the ciphertexts of all terms, one term after the other; outputs
    /// are, for each output ciphertext, the results of `giants`, one after the other.
    pub(super) transform: LinearTransform,
    /// The giant steps after it.
    pub(super) giants: Giants,
    /// Rotations after it, each followed by an addition.
    pub(super) folds: Vec<u32>,
}

/// Builds the transform of `terms`, with the layouts that they read, into `output`, for the levels
/// and prices of `weights`; its rotations are added to `keys`.
pub(super) fn build(
    terms: &[(Term<'_>, Placed)],
    output: &Layout,
    weights: &Weights,
    keys: &mut Keys,
) -> Built {
    let target = Placed::new(output.clone());
    let sources: Vec<_> = terms.iter().map(|(term, placed)| term.sources(placed)).collect();
    let sources = combinations(&sources)
        .into_iter()
        .map(|s| {
            let survey = Survey::new(&s, &target);
            (survey.map_or(f64::INFINITY, |survey| survey.cost_beside(weights, keys)), s)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there is the plain combination")
        .1;
    let (classes, inputs) = route_all(&sources, &target);
    let layouts = || sources.iter().map(|s| &s.placed.layout);
    let folding = Folding::between(layouts(), output);
    let mut offsets: Vec<u32> = classes.iter().map(|c| c.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let strides = layouts().flat_map(|l| &l.axes).map(|a| a.stride);
    let candidates = all_moduli(output.width, moduli(output.width, strides));
    let arity = Arity { inputs, outputs: output.ciphertexts() };
    let choice = choose(&offsets, output.width, arity, weights, keys, &candidates);
    let folds = folding.rotations().map(narrow).collect();
    let shape = LinearTransform {
        width: output.width,
        period: folding.unfolded,
        inputs,
        outputs: arity.outputs,
        diagonals: Vec::new(),
    };
    let (transform, giants) = spread_giants(classes, shape, &choice);
    let runs = sources.into_iter().map(|s| s.runs).collect();
    let built = Built { runs, transform, giants, folds };
    built.enter(weights.level, keys);
    built
}

/// The giant steps that come after a transform.
pub(super) struct Giants {
    /// The number of each result's giant step, increasing.
    pub(super) steps: Vec<i64>,
    /// The rotation of each.
    pub(super) rotations: Vec<u32>,
    /// How Horner's rule takes them.
    pub(super) hops: Option<Hops>,
}

impl Giants {
    /// The distinct rotations that are taken.
    fn distinct(&self) -> Vec<u32> {
        match self.hops {
            Some(hops) => hops.rotations(&self.steps),
            None => self.rotations.iter().copied().filter(|&by| by != 0).collect(),
        }
    }
}

impl Built {
    /// Adds the rotations to `keys`.
    fn enter(&self, level: usize, keys: &mut Keys) {
        self.transform.steps().into_iter().for_each(|s| keys.add(s, level));
        let runs = self.runs.iter().flatten().flat_map(|r| r.additions());
        runs.for_each(|(_, by)| keys.add(by, level));
        let low = level.saturating_sub(1);
        self.folds.iter().copied().chain(self.giants.distinct()).for_each(|s| keys.add(s, low));
    }
}

/// The entries that land in one output ciphertext, from one input ciphertext, with one offset.
struct Class {
    output: u32,
    input: u32,
    offset: u32,
    /// Slots and values.
    entries: Vec<(u32, f32)>,
}

/// Where every entry of the sources lands, and the number of input ciphertexts.
fn route_all(sources: &[Source<'_>], output: &Placed) -> (Vec<Class>, usize) {
    let width = output.layout.width;
    let inputs = sources.iter().map(|s| s.placed.layout.ciphertexts()).sum();
    let rows = sources.first().map_or(0, |s| s.matrix.rows);
    // One output ciphertext after the other, so that few classes are open at a time.
    let mut order: Vec<(u32, usize)> =
        (0..rows).map(|r| (output.place(r) / narrow(width), r)).collect();
    order.sort_unstable();
    let mut classes: Vec<Class> = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; inputs * width];
    for rows in order.chunk_by(|a, b| a.0 == b.0) {
        let closed = classes.len();
        let mut base = 0;
        for Source { matrix, placed, .. } in sources {
            let route = Route::between(&placed.layout, &output.layout).expect("a route");
            for &(_, r) in rows {
                let to = output.place(r);
                for (c, v) in matrix.row(r) {
                    let l = route.landing(placed.place(c), to);
                    let input = base + l.input as usize;
                    let class = *open[input * width + l.offset as usize].get_or_insert_with(|| {
                        let (output, offset, entries) = (l.output, l.offset, Vec::new());
                        classes.push(Class { output, input: narrow(input), offset, entries });
                        classes.len() - 1
                    });
                    classes[class].entries.push((l.slot, v as f32));
                }
            }
            base += placed.layout.ciphertexts();
        }
        for class in &classes[closed..] {
            open[class.input as usize * width + class.offset as usize] = None;
        }
    }
    (classes, inputs)
}

/// Gives every giant step a result of its own: the entry that lands in slot `t` with the offset
/// `d = baby + g`, where `g` is the rotation of its giant step, goes to slot `t + g` of that step's
/// result, with the offset `baby`.
fn spread_giants(
    mut classes: Vec<Class>,
    mut shape: LinearTransform,
    choice: &Choice,
) -> (LinearTransform, Giants) {
    let (division, width) = (choice.division, shape.width);
    // Without Horner's rule only the rotation matters, which two numbers may share.
    let divide = |offset: u32| {
        let (number, baby) = division.of(offset, width);
        let rotation = division.rotation(number, width);
        (if choice.hops.is_some() { number } else { i64::from(rotation) }, rotation, baby)
    };
    let mut steps: Vec<(i64, u32)> = classes
        .iter()
        .map(|c| {
            let (step, rotation, _) = divide(c.offset);
            (step, rotation)
        })
        .collect();
    steps.sort_unstable();
    steps.dedup();
    if steps.is_empty() {
        steps.push((0, 0));
    }
    let period = narrow(shape.period);
    for class in &mut classes {
        let (step, rotation, baby) = divide(class.offset);
        let result = steps.binary_search(&(step, rotation)).expect("every giant step is listed");
        class.output = narrow(class.output as usize * steps.len() + result);
        class.offset = baby;
        class.entries.iter_mut().for_each(|(slot, _)| *slot = (*slot + rotation) % period);
    }
    shape.outputs *= steps.len();
    shape.diagonals = diagonals(classes);
    let (steps, rotations) = steps.into_iter().unzip();
    (shape, Giants { steps, rotations, hops: choice.hops })
}

/// Sorted diagonals, one for each class, since an offset is the sum of its steps; values that vanish
/// in single precision are dropped.
fn diagonals(mut classes: Vec<Class>) -> Vec<Diagonal> {
    classes.sort_unstable_by_key(|c| (c.output, c.input, c.offset));
    let diagonal = |class: Class| {
        let Class { output, input, offset, mut entries } = class;
        entries.sort_unstable_by_key(|e| e.0);
        let kept = entries.into_iter().filter(|e| e.1 != 0.0);
        let (slots, values): (Vec<u32>, Vec<f32>) = kept.unzip();
        (!slots.is_empty()).then_some(Diagonal { output, input, offset, slots, values })
    };
    classes.into_iter().filter_map(diagonal).collect()
}

fn narrow(x: usize) -> u32 {
    u32::try_from(x).expect("few ciphertexts of at most 2^16 slots")
}

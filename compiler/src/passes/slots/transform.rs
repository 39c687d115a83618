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
            (survey.map_or(f64::INFINITY, |survey| survey.cost(weights, keys)), s)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there is the plain combination")
        .1;
    let (entries, inputs) = route_all(&sources, &target);
    let layouts = || sources.iter().map(|s| &s.placed.layout);
    let folding = Folding::between(layouts(), output);
    let mut offsets: Vec<u32> = entries.iter().map(|e| e.key.2).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let strides = layouts().flat_map(|l| &l.axes).map(|a| a.stride);
    let candidates = all_moduli(output.width, moduli(output.width, strides));
    let arity = Arity { inputs, outputs: output.ciphertexts() };
    let choice = choose(&offsets, output.width, arity, weights, keys, &candidates);
    let folds = folding.rotations().map(|s| u32::try_from(s).expect("below the width")).collect();
    let shape = LinearTransform {
        width: output.width,
        period: folding.unfolded,
        inputs,
        outputs: arity.outputs,
        diagonals: Vec::new(),
    };
    let (transform, giants) = spread_giants(entries, shape, &choice);
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

/// Where every entry of the sources lands, and the number of input ciphertexts.
fn route_all(sources: &[Source<'_>], output: &Placed) -> (Vec<Entry>, usize) {
    let mut entries = Vec::with_capacity(sources.iter().map(|s| s.matrix.nnz()).sum());
    let mut inputs = 0;
    for Source { matrix, placed, .. } in sources {
        let base = u32::try_from(inputs).expect("few ciphertexts");
        let route = Route::between(&placed.layout, &output.layout).expect("a layout with a route");
        for r in 0..matrix.rows {
            let to = output.place(r);
            entries.extend(matrix.row(r).map(|(c, v)| {
                let l = route.landing(placed.place(c), to);
                Entry { key: (l.output, base + l.input, l.offset), slot: l.slot, value: v as f32 }
            }));
        }
        inputs += placed.layout.ciphertexts();
    }
    (entries, inputs)
}

struct Entry {
    key: (u32, u32, u32),
    slot: u32,
    value: f32,
}

/// Gives every giant step a result of its own: the entry that lands in slot `t` with the offset
/// `d = baby + g`, where `g` is the rotation of its giant step, goes to slot `t + g` of that step's
/// result, with the offset `baby`.
fn spread_giants(
    mut entries: Vec<Entry>,
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
    let mut steps: Vec<(i64, u32)> = entries
        .iter()
        .map(|e| {
            let (step, rotation, _) = divide(e.key.2);
            (step, rotation)
        })
        .collect();
    steps.sort_unstable();
    steps.dedup();
    if steps.is_empty() {
        steps.push((0, 0));
    }
    let period = u32::try_from(shape.period).expect("periods are at most 2^16");
    for e in &mut entries {
        let (step, rotation, baby) = divide(e.key.2);
        let result = steps.binary_search(&(step, rotation)).expect("every giant step is listed");
        let output = e.key.0 as usize * steps.len() + result;
        e.key = (u32::try_from(output).expect("few ciphertexts"), e.key.1, baby);
        e.slot = (e.slot + rotation) % period;
    }
    shape.outputs *= steps.len();
    shape.diagonals = group(entries);
    let (steps, rotations) = steps.into_iter().unzip();
    (shape, Giants { steps, rotations, hops: choice.hops })
}

/// Entries to sorted diagonals; values that vanish in single precision are dropped.
fn group(mut entries: Vec<Entry>) -> Vec<Diagonal> {
    entries.sort_unstable_by_key(|e| (e.key, e.slot));
    entries
        .chunk_by(|a, b| a.key == b.key)
        .filter_map(|run| {
            let (output, input, offset) = run[0].key;
            let kept = run.iter().filter(|e| e.value != 0.0);
            let (slots, values): (Vec<u32>, Vec<f32>) = kept.map(|e| (e.slot, e.value)).unzip();
            (!slots.is_empty()).then_some(Diagonal { output, input, offset, slots, values })
        })
        .collect()
}

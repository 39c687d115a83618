//! Builds the diagonals of an affine map between two layouts, and chooses how its steps are taken.

use heplan_ir::layout::Layout;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};

use super::columns::Run;
use super::count::Survey;
use super::routing::{Folding, Placed, Route};
use super::source::{Source, Term, combinations};
use super::steps::{Arity, Hops, Horner, Keys, all_moduli, choose, moduli};
use super::weights::Weights;

/// A transform ready for the graph.
pub(super) struct Built {
    /// Per term, the sums over its ciphertexts before the transform.
    pub(super) runs: Vec<Vec<Run>>,
    /// The diagonals; inputs are the ciphertexts of all terms, one term after the other; outputs
    /// are, for each output ciphertext, the results of `giants`, one after the other.
    pub(super) transform: LinearTransform,
    /// Baby and giant steps inside the transform.
    pub(super) split: Split,
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
    let (transform, giants) = match choice.horner {
        None => (LinearTransform { diagonals: group(entries), ..shape }, vec![0]),
        Some(horner) => spread_giants(entries, shape, horner),
    };
    let built = Built {
        runs: sources.into_iter().map(|s| s.runs).collect(),
        transform,
        split: choice.split,
        giants: Giants { steps: giants, hops: choice.horner.map(|h| h.hops) },
        folds,
    };
    built.enter(weights.level, keys);
    built
}

/// The giant steps that Horner's rule takes after a transform.
pub(super) struct Giants {
    /// The number of hops that each result still has to make, increasing from 0; `[0]` without
    /// Horner's rule.
    pub(super) steps: Vec<u32>,
    hops: Option<Hops>,
}

impl Giants {
    /// The rotations from one result to another that lies `gap` hops before it.
    pub(super) fn rotations(&self, gap: u32) -> impl Iterator<Item = u32> {
        self.hops.into_iter().flat_map(move |hops| hops.rotations(gap))
    }
}

impl Built {
    /// Adds the rotations to `keys`.
    fn enter(&self, level: usize, keys: &mut Keys) {
        let (babies, giants) = self.split.steps(&self.transform);
        babies.into_iter().chain(giants).for_each(|s| keys.add(s, level));
        let runs = self.runs.iter().flatten().flat_map(|r| r.additions());
        runs.for_each(|(_, by)| keys.add(by, level));
        let low = level.saturating_sub(1);
        let gaps = self.giants.steps.windows(2).map(|pair| pair[1] - pair[0]);
        let hops = gaps.flat_map(|gap| self.giants.rotations(gap));
        self.folds.iter().copied().chain(hops).for_each(|s| keys.add(s, low));
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
/// `d = baby + k·modulus` goes to slot `t + k·modulus` of result `k`, with the offset `baby`.
fn spread_giants(
    mut entries: Vec<Entry>,
    mut shape: LinearTransform,
    horner: Horner,
) -> (LinearTransform, Vec<u32>) {
    let mut giants: Vec<u32> = entries.iter().map(|e| horner.of(e.key.2, shape.width).0).collect();
    giants.sort_unstable();
    giants.dedup();
    let period = u32::try_from(shape.period).expect("periods are at most 2^16");
    for e in &mut entries {
        let (giant, baby) = horner.of(e.key.2, shape.width);
        let result = giants.binary_search(&giant).expect("every giant step is listed");
        let output = e.key.0 as usize * giants.len() + result;
        e.key = (u32::try_from(output).expect("few ciphertexts"), e.key.1, baby);
        e.slot = (e.slot + giant * horner.hops.hop) % period;
    }
    shape.outputs *= giants.len();
    shape.diagonals = group(entries);
    (shape, giants)
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

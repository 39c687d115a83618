//! A ring with layouts for it: what it costs under which parameters, and its likes at other prices, with other chains of
//! primes, or with whole inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use heplan_ir::entity::ValueId;
use heplan_ir::parameters::{LOG_N, Parameters};
use heplan_ir::slots::Compact;
use heplan_ir::tensor::Op;
use heplan_ir::{ckks, slots};
use rayon::prelude::*;

use super::chain::{Chain, lifted_scales, typical_scale};
use super::{Lowered, too_deep};
use crate::cost::{self, Cost, Costs};
use crate::judge::Judge;
use crate::options::{Objective, Options};
use crate::passes;
use crate::passes::ckks::Waterline;
use crate::passes::slots::{Placement, Prices, Problem};
use crate::pipeline::CompileError;
use crate::pipeline::observer::Observer;
use crate::pipeline::tensors::Real;
use crate::report::{LayoutGap, NodeLayout};

/// What one byte of keys is worth in seconds of a run unless the user says otherwise: keys are
/// stored, sent and read.
pub(in crate::pipeline) const USUAL_KEY_PRICE: f64 = 1.2e-9;

/// What one byte of a request is worth in seconds of a run: unlike keys it is sent every time, over the client's own line,
/// here one of 250 megabits a second.
const INPUT_PRICE: f64 = 32.0e-9;

/// Prices that layouts are searched for, as multiples of the one that decides: the search estimates
/// by counting, so that the best layout for a price may be found at one near it.
const NEARBY: [f64; 2] = [0.6, 1.6];
/// Chains that are weighed where ciphertexts are refreshed: those with the fewest refreshes.
const CHAINS: usize = 6;

/// What a byte of keys is worth in seconds of a run.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct KeyPrice {
    /// For all affine maps.
    pub(in crate::pipeline) all: f64,
    /// But for this one.
    pub(in crate::pipeline) except: Option<(ValueId, f64)>,
}

impl KeyPrice {
    /// One price for all.
    pub(in crate::pipeline) const fn same(all: f64) -> Self {
        Self { all, except: None }
    }

    fn prices(self, parameters: &Parameters, costs: &Costs) -> Prices {
        let at = |price| Prices::new(parameters, costs, price);
        match self.except {
            None => at(self.all),
            Some((affine, price)) => at(self.all).except(affine, at(price)),
        }
    }
}

/// The same graph, its inputs without what is not worth sending. For throughput nothing is left out: what the client
/// does not send the server computes.
fn compacted(
    mut lowered: passes::slots::Lowered,
    (parameters, key_price): (&Parameters, f64),
    options: &Options,
) -> passes::slots::Lowered {
    if options.objective != Objective::Throughput {
        let (costs, input_price) = (&options.costs, INPUT_PRICE);
        let worth = passes::ckks::compact::Worth { parameters, costs, key_price, input_price };
        passes::ckks::compact::choose(&mut lowered.graph, worth);
    }
    lowered
}

/// A ring with the layouts chosen for it.
pub(in crate::pipeline) struct Ring<'a> {
    pub(super) real: &'a Real,
    pub(super) log_n: u32,
    /// Samples that share a ciphertext.
    pub(super) batch: usize,
    pub(super) chain: Chain,
    pub(super) options: &'a Options,
    pub(super) judge: &'a dyn Judge,
    /// The scales of a plan of this ring that is no noisier, if there is one.
    pub(super) known: Option<Waterline>,
    /// What one byte of keys is worth beside the seconds of a run.
    key_price: f64,
    /// The same as the layouts were searched for.
    searched: KeyPrice,
    problem: Arc<Problem<'a>>,
    /// The parameters that layouts are priced under.
    typical: Arc<Parameters>,
    pub(super) lowered: passes::slots::Lowered,
    /// Whether nothing is left out of inputs.
    whole: bool,
}

impl<'a> Ring<'a> {
    /// A ring that carries the graph without refreshes; nothing if there are no parameters for it.
    pub(in crate::pipeline) fn new(
        real: &'a Real,
        (log_n, batch): (u32, usize),
        options: &'a Options,
        judge: &'a dyn Judge,
    ) -> Option<Self> {
        let chain = Chain::whole(real.depth());
        Self::with_chain((real, options, judge), (log_n, batch), chain, USUAL_KEY_PRICE)
    }

    /// A ring with a chain of primes, or with a shorter one if ciphertexts are refreshed and that is cheaper; nothing if
    /// there are no parameters for it, or no places to refresh at.
    pub(super) fn with_chain(
        (real, options, judge): (&'a Real, &'a Options, &'a dyn Judge),
        (log_n, batch): (u32, usize),
        chain: Chain,
        key_price: f64,
    ) -> Option<Self> {
        let typical = chain.typical(log_n, options)?;
        let problem = Problem::new(&real.graph, (1 << (log_n - 1)) / batch);
        let searched = KeyPrice::same(key_price);
        let prices = searched.prices(&typical, &options.costs);
        let mut lowered = problem.lower(&real.ports, &prices);
        if !chain.refreshes {
            lowered = compacted(lowered, (&typical, key_price), options);
        }
        let (problem, typical) = (Arc::new(problem), Arc::new(typical));
        let ring = Self {
            real,
            log_n,
            batch,
            chain,
            options,
            judge,
            known: None,
            key_price,
            searched,
            problem,
            typical,
            lowered,
            whole: false,
        };
        let ring = if chain.refreshes { ring.with_refreshes()? } else { ring };
        Some(ring.best_nearby())
    }

    /// The ring with refreshes, and with the chain that makes the plan cheapest: on fewer primes there are more of them.
    fn with_refreshes(self) -> Option<Self> {
        let mut shortest: BTreeMap<usize, usize> = BTreeMap::new();
        for levels in (1..=self.chain.levels).rev() {
            let Some(refreshed) = passes::slots::refresh(&self.lowered.graph, levels) else {
                break;
            };
            let refresh = |inst: &&slots::Inst| matches!(inst.op, slots::Op::Bootstrap { .. });
            shortest.insert(refreshed.insts.iter().filter(refresh).count(), levels);
        }
        let chains: Vec<usize> = shortest.into_values().take(CHAINS).collect();
        let rings = chains.into_par_iter().filter_map(|levels| self.with_levels(levels));
        let weighed: Vec<(f64, Self)> = rings.map(|ring| (ring.estimated(), ring)).collect();
        weighed.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, ring)| ring)
    }

    /// The same layouts, refreshed after at most so many levels.
    fn with_levels(&self, levels: usize) -> Option<Self> {
        let chain = Chain { levels, ..self.chain };
        let graph = passes::slots::refresh(&self.lowered.graph, levels)?;
        let typical = chain.typical(self.log_n, self.options)?;
        let lowered = passes::slots::Lowered { graph, ..self.lowered.clone() };
        Some(Self {
            chain,
            lowered: compacted(lowered, (&typical, self.searched.all), self.options),
            typical: Arc::new(typical),
            problem: Arc::clone(&self.problem),
            ..*self
        })
    }

    /// The same ring with other layouts and steps, for which bytes of keys have another price.
    pub(in crate::pipeline) fn at_price(&self, key_price: KeyPrice) -> Self {
        Self { key_price: key_price.all, ..self.laid_out(key_price) }
    }

    /// The same ring with the scales of a plan that is no noisier, to start from.
    pub(in crate::pipeline) fn starting_at(self, waterline: Waterline) -> Self {
        Self { known: Some(waterline), ..self }
    }

    /// The affine maps.
    pub(in crate::pipeline) fn affines(&self) -> impl Iterator<Item = ValueId> {
        let graph = &self.real.graph;
        graph.ids().filter(|&id| matches!(graph.value(id).op, Op::Affine { .. }))
    }

    /// The next ring, at the same price of keys, if it may be taken and carries the depth.
    pub(in crate::pipeline) fn next(&self) -> Option<Self> {
        let log_n = self.log_n + 1;
        let allowed =
            self.options.log_n.is_none() && LOG_N.contains(&log_n) && !self.chain.refreshes;
        let from = (self.real, self.options, self.judge);
        allowed.then(|| Self::with_chain(from, (log_n, self.batch), self.chain, self.key_price))?
    }

    /// The next ring, if a key of it can be smaller than one of `plan`, with the least scale from the plan's on: where
    /// this ring has room for few special primes, its keys have many digits.
    pub(in crate::pipeline) fn next_of_smaller_keys(
        &self,
        plan: &Lowered,
    ) -> Option<(Self, Waterline)> {
        let (log_n, Waterline { bits, lift }) = (self.log_n + 1, plan.waterline);
        let scales = lifted_scales(log_n, self.chain, lift, self.options);
        let waterline = Waterline { bits: scales.take_while(|&s| s >= bits).last()?, lift };
        let bytes = |p: &Parameters| cost::bytes_of_key(p, p.max_level());
        let least = self.chain.candidates(log_n, waterline).iter().map(bytes).min()?;
        let smaller = least < bytes(&plan.plan.parameters);
        self.next().filter(|_| smaller).map(|ring| (ring, waterline))
    }

    /// The same ring with the layouts for another price of keys.
    fn laid_out(&self, searched: KeyPrice) -> Self {
        let prices = searched.prices(&self.typical, &self.options.costs);
        let mut lowered = self.problem.lower(&self.real.ports, &prices);
        if self.chain.refreshes {
            // Where these layouts have no places for refreshes, those that have some stay.
            match passes::slots::refresh(&lowered.graph, self.chain.levels) {
                Some(graph) => lowered.graph = graph,
                None => lowered = self.lowered.clone(),
            }
        }
        if !self.whole {
            lowered = compacted(lowered, (&self.typical, searched.all), self.options);
        }
        Self {
            lowered,
            searched,
            problem: Arc::clone(&self.problem),
            typical: Arc::clone(&self.typical),
            ..*self
        }
    }

    /// The same ring with the layouts found at prices near its own.
    pub(super) fn nearby(&self) -> Vec<Self> {
        let near = |factor: &f64| self.laid_out(KeyPrice::same(factor * self.key_price));
        NEARBY.par_iter().map(near).collect()
    }

    /// The same ring where noise is a little different: with other layouts, and with whole inputs.
    pub(super) fn alike(&self) -> Vec<Self> {
        let mut others = self.nearby();
        let whole: Vec<Self> = [self].into_iter().chain(&others).filter_map(Self::whole).collect();
        others.extend(whole);
        others
    }

    /// The same ring with inputs of which nothing is left out, if something is.
    fn whole(&self) -> Option<Self> {
        let mut lowered = self.lowered.clone();
        let inputs = lowered.graph.inputs.iter_mut();
        let before = inputs.map(|port| std::mem::take(&mut port.compact));
        if before.fold(true, |whole, compact| whole & (compact == Compact::NONE)) {
            return None;
        }
        let (problem, typical) = (Arc::clone(&self.problem), Arc::clone(&self.typical));
        Some(Self { lowered, problem, typical, whole: true, ..*self })
    }

    /// This plan of the ring, or the one with whole inputs if their silence is worth more than their bytes.
    pub(super) fn or_whole(
        self,
        lowered: Lowered,
        precision_bits: f64,
        observer: &mut dyn Observer,
    ) -> Result<(Self, Lowered), CompileError> {
        let Some(whole) = self.whole() else { return Ok((self, lowered)) };
        if whole.is_quieter(&lowered, precision_bits, observer)?
            && let Ok(other) = whole.search(precision_bits, observer)?
            && whole.weight(&other.cost) < self.weight(&lowered.cost)
        {
            return Ok((whole, other));
        }
        Ok((self, lowered))
    }

    /// The ring with the layouts that are cheapest among those found at prices near its own.
    fn best_nearby(self) -> Self {
        if self.width() == 1 {
            return self;
        }
        let mut rings = self.nearby();
        rings.insert(0, self);
        let weights: Vec<f64> = rings.par_iter().map(Self::estimated).collect();
        let best = (0..rings.len()).min_by(|&a, &b| weights[a].total_cmp(&weights[b]));
        rings.swap_remove(best.expect("there is a ring"))
    }

    /// The weight of its plan at a typical scale.
    pub(super) fn estimated(&self) -> f64 {
        self.estimate().map_or(f64::INFINITY, |cost| self.weight(&cost))
    }

    /// What a plan costs, in seconds of its first run, with the prices of its keys and inputs.
    pub(super) fn weight(&self, cost: &Cost) -> f64 {
        cost.first_seconds()
            + self.key_price * cost.key_bytes as f64
            + INPUT_PRICE * cost.input_bytes as f64
    }

    /// Base-2 logarithm of the ring dimension.
    pub(in crate::pipeline) fn log_n(&self) -> u32 {
        self.log_n
    }

    /// Slots of each sample in a ciphertext.
    pub(in crate::pipeline) fn width(&self) -> usize {
        (1 << (self.log_n - 1)) / self.batch
    }

    /// The price of a byte of keys.
    pub(in crate::pipeline) fn key_price(&self) -> f64 {
        self.key_price
    }

    /// Whether some tensor does not fit one ciphertext.
    pub(super) fn splits_tensors(&self) -> bool {
        self.lowered.graph.insts.iter().any(|inst| match &inst.op {
            slots::Op::Linear { transform, .. } => {
                let transform = self.lowered.graph.consts.transform(*transform);
                transform.inputs > 1 || transform.outputs > 1
            }
            _ => false,
        })
    }

    /// The cost at a typical scale.
    pub(in crate::pipeline) fn estimate(&self) -> Result<Cost, CompileError> {
        let Some(scale) = typical_scale(self.log_n, self.chain, self.options) else {
            return Err(too_deep(self.real.depth(), self.options).into());
        };
        Ok(self.cheapest(Waterline::even(scale))?.0)
    }

    /// Lowers at one scale under the parameters that make it cheapest.
    pub(in crate::pipeline) fn cheapest(
        &self,
        waterline: Waterline,
    ) -> Result<(Cost, ckks::Graph), CompileError> {
        let ranked = self.ranked(waterline)?;
        self.lower(ranked.first().expect("a feasible scale has a candidate"), waterline)
    }

    /// The parameters for one scale, the cheapest first.
    pub(super) fn ranked(&self, waterline: Waterline) -> Result<Vec<Parameters>, CompileError> {
        let mut ranked: Vec<(f64, Parameters)> = Vec::new();
        for parameters in self.chain.candidates(self.log_n, waterline) {
            let parameters = parameters
                .with_batch(self.batch)
                .map_err(|e| CompileError::broken("lower-to-ckks", &e))?;
            let weight = self.weight(&self.lower(&parameters, waterline)?.0);
            ranked.push((weight, parameters));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(ranked.into_iter().map(|(_, parameters)| parameters).collect())
    }

    /// Lowers to ciphertexts and fuses rotations, with what that costs.
    pub(super) fn lower(
        &self,
        parameters: &Parameters,
        waterline: Waterline,
    ) -> Result<(Cost, ckks::Graph), CompileError> {
        let fused = passes::ckks::fuse_rotations(self.to_ckks(parameters, waterline)?);
        Ok((self.cost(&fused), fused))
    }

    /// The first of the two steps of [`Self::lower`].
    pub(super) fn to_ckks(
        &self,
        parameters: &Parameters,
        waterline: Waterline,
    ) -> Result<ckks::Graph, CompileError> {
        passes::ckks::lower(&self.lowered.graph, parameters, waterline)
            .map_err(|e| CompileError::broken("lower-to-ckks", &e))
    }

    pub(super) fn cost(&self, graph: &ckks::Graph) -> Cost {
        cost::plan_cost(graph, &self.options.costs)
    }

    /// The layouts by node, and what there is to say of them if that is asked for.
    pub(super) fn explained(&self) -> (Vec<NodeLayout>, Option<LayoutGap>) {
        let prices = self.options.explain.then(|| self.prices());
        let passes::slots::Lowered { graph, chosen, cost } = &self.lowered;
        let gap = prices.as_ref().map(|prices| {
            let at_least = self.problem.at_least(prices, *cost);
            LayoutGap { found: *cost, at_least }
        });
        let placements = self.problem.placements(chosen, prices.as_ref());
        let named = placements.into_iter().map(|Placement { origin, reads, writes, next_best }| {
            NodeLayout { node: graph.origins.label(origin), reads, writes, next_best }
        });
        (named.collect(), gap)
    }

    /// The prices that the layouts were searched at.
    fn prices(&self) -> Prices {
        self.searched.prices(&self.typical, &self.options.costs)
    }
}

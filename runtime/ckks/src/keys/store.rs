//! The evaluation keys that a server holds: read when they are used, kept while that pays and a budget of bytes allows.
//!
//! A key that will not be used again is not kept, and not expanded: a run that uses every key once never holds more of
//! them than one instruction needs. Of the others the one whose next use lies furthest away makes room (Belady, 1966),
//! which a plan's schedule tells ([`EvaluationKeys::expect`]). They are expanded if the budget has room for all of them
//! like that. If not, they are kept as they are in the file, where they take half the room: reading a key again takes
//! several times as long as drawing its uniform half again. Only those that are used again at once are expanded then.
//! Without a schedule a key is expanded when it is used the second time, and the least recently used one makes room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heplan_ir::plan::{KeyKind, KeySpec};

use crate::context::Context;
use crate::error::EvalError;
use crate::files::FileError;
use crate::keys::switching::{PackedKey, SeededKey, SwitchingKey};

/// Bytes of keys that are kept by default: 1 GiB.
pub const DEFAULT_KEY_BYTES: usize = 1 << 30;

/// A key is used again at once if it is among the next so many that are asked for.
const AT_ONCE: usize = 8;

/// Where keys come from: a file, or memory.
pub trait KeySource: Send + Sync {
    /// The keys that are there, one per kind.
    fn specs(&self) -> Vec<KeySpec>;

    /// Reads one of them.
    ///
    /// # Errors
    /// If the key is damaged or not there.
    fn load(&self, kind: KeyKind) -> Result<PackedKey, FileError>;
}

/// Keys by kind, read when asked for.
pub struct EvaluationKeys {
    context: Arc<Context>,
    source: Box<dyn KeySource>,
    levels: BTreeMap<KeyKind, usize>,
    kept: Mutex<Kept>,
}

/// Keys in memory, and what is known about their uses.
struct Kept {
    budget: usize,
    bytes: usize,
    keys: BTreeMap<KeyKind, Arc<SwitchingKey>>,
    uses: BTreeMap<KeyKind, Uses>,
    /// None if nothing is known.
    schedule: Option<Schedule>,
    /// Counts all uses.
    clock: usize,
}

/// What is known about runs.
struct Schedule {
    /// How often one run asks for a key.
    length: usize,
    /// How many runs there will be.
    runs: usize,
    /// Bytes of all keys that are used more than once, expanded.
    bytes: usize,
}

/// A use of a key, as far as it is known.
struct Use {
    /// Whether it is not the last one.
    again: bool,
    /// Whether the next one follows at once.
    at_once: bool,
}

/// The uses of one key.
#[derive(Default)]
struct Uses {
    /// When a run uses it.
    places: Vec<usize>,
    /// How often it has been used.
    done: usize,
    /// When it was last used.
    last: usize,
}

impl Kept {
    /// Counts a use.
    fn count(&mut self, kind: KeyKind) -> Use {
        let now = self.distance(kind);
        self.clock += 1;
        let uses = self.uses.entry(kind).or_default();
        uses.done += 1;
        uses.last = self.clock;
        let again = match &self.schedule {
            None => true,
            Some(schedule) => uses.done < uses.places.len().saturating_mul(schedule.runs),
        };
        Use { again, at_once: again && self.distance(kind).saturating_sub(now) <= AT_ONCE }
    }

    /// Whether a key that will be used again is worth expanding now.
    fn expands(&self, kind: KeyKind, at_once: bool) -> bool {
        match &self.schedule {
            None => self.uses.get(&kind).is_some_and(|uses| uses.done > 1),
            Some(_) => at_once || !self.rereads(),
        }
    }

    /// Whether keys are read again and again, since not all that are used again have room.
    fn rereads(&self) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.bytes > self.budget)
    }

    /// The larger, the sooner it makes room.
    fn distance(&self, kind: KeyKind) -> usize {
        let Some(uses) = self.uses.get(&kind) else { return usize::MAX };
        match &self.schedule {
            None => usize::MAX - 1 - uses.last,
            Some(schedule) => {
                let places = uses.places.len();
                if uses.done >= places.saturating_mul(schedule.runs) {
                    return usize::MAX;
                }
                let runs = uses.done / places;
                runs.saturating_mul(schedule.length) + uses.places[uses.done % places]
            }
        }
    }

    fn remove(&mut self, kind: KeyKind) {
        if let Some(key) = self.keys.remove(&kind) {
            self.bytes -= key.bytes();
        }
    }

    /// Whether a key of that size can be kept beside those that are used before it.
    fn has_room(&self, kind: KeyKind, bytes: usize) -> bool {
        let own = self.distance(kind);
        let others = self.keys.iter().filter(|&(&other, _)| other != kind);
        let sooner = others.filter(|&(&other, _)| self.distance(other) <= own);
        sooner.map(|(_, key)| key.bytes()).sum::<usize>().saturating_add(bytes) <= self.budget
    }

    /// Keeps a key if there is room for it, forgetting keys that are used after it.
    fn insert(&mut self, kind: KeyKind, key: &Arc<SwitchingKey>) {
        self.remove(kind);
        if self.has_room(kind, key.bytes()) {
            self.bytes += key.bytes();
            self.keys.insert(kind, Arc::clone(key));
            self.shrink();
        }
    }

    /// Forgets the keys that are used last until the others fit the budget.
    fn shrink(&mut self) {
        while self.bytes > self.budget {
            let furthest = self.keys.keys().map(|&kind| (self.distance(kind), kind)).max();
            let Some((_, kind)) = furthest else { break };
            self.remove(kind);
        }
    }
}

impl EvaluationKeys {
    /// The keys of a source, of which [`DEFAULT_KEY_BYTES`] are kept.
    pub fn new(context: &Arc<Context>, source: impl KeySource + 'static) -> Self {
        Self::with_budget(context, source, DEFAULT_KEY_BYTES)
    }

    /// The keys of a source, of which `budget` bytes are kept. Those that an instruction is using come on top.
    pub fn with_budget(
        context: &Arc<Context>,
        source: impl KeySource + 'static,
        budget: usize,
    ) -> Self {
        let levels = source.specs().into_iter().map(|s| (s.kind, s.level)).collect();
        let kept = Kept {
            budget,
            bytes: 0,
            keys: BTreeMap::new(),
            uses: BTreeMap::new(),
            schedule: None,
            clock: 0,
        };
        let kept = Mutex::new(kept);
        Self { context: Arc::clone(context), source: Box::new(source), levels, kept }
    }

    /// Keys that stay in memory, packed one by one as they come.
    pub fn from_keys(context: &Arc<Context>, keys: impl IntoIterator<Item = SeededKey>) -> Self {
        let keys = keys.into_iter().map(|k| (k.kind, (k.level, k.packed_bytes()))).collect();
        Self::new(context, InMemory { context: Arc::clone(context), keys })
    }

    /// From now on keeps at most that many bytes.
    pub fn set_budget(&self, bytes: usize) {
        let mut kept = self.kept();
        kept.budget = bytes;
        kept.shrink();
    }

    /// Tells in which order a run uses keys, and how many runs there will be. What was used before does not count.
    ///
    /// Only memory and time depend on it: a key that is used otherwise is read again.
    pub fn expect(&self, order: &[KeyKind], runs: usize) {
        let mut kept = self.kept();
        kept.uses.clear();
        for (place, &kind) in order.iter().enumerate() {
            kept.uses.entry(kind).or_default().places.push(place);
        }
        let often = kept.uses.iter().filter(|(_, uses)| uses.places.len().saturating_mul(runs) > 1);
        let specs = often.filter_map(|(&kind, _)| Some((kind, *self.levels.get(&kind)?)));
        let bytes = specs.map(|(kind, level)| self.expanded_bytes(KeySpec { kind, level })).sum();
        kept.schedule = Some(Schedule { length: order.len(), runs, bytes });
    }

    /// What the keys belong to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Which keys there are, by kind.
    pub fn specs(&self) -> impl Iterator<Item = KeySpec> {
        self.levels.iter().map(|(&kind, &level)| KeySpec { kind, level })
    }

    /// The level that a key reaches, if it serves what is asked of it.
    ///
    /// # Errors
    /// If there is none, or it does not reach the level.
    pub fn check(&self, spec: KeySpec) -> Result<usize, EvalError> {
        let KeySpec { kind, level: needed } = spec;
        let found = *self.levels.get(&kind).ok_or(EvalError::MissingKey(kind))?;
        if found < needed {
            return Err(EvalError::KeyLevel { kind, found, needed });
        }
        Ok(found)
    }

    /// The key of a kind for an operand at `level`. An instruction asks once for each of its keys.
    ///
    /// # Errors
    /// If there is none, it does not reach the level, or it cannot be read.
    pub fn get(&self, kind: KeyKind, level: usize) -> Result<Arc<SwitchingKey>, EvalError> {
        let found = self.check(KeySpec { kind, level })?;
        let bytes = self.expanded_bytes(KeySpec { kind, level: found });
        let (key, again, expands, reread) = {
            let mut kept = self.kept();
            let reread = kept.rereads();
            let Use { again, at_once } = kept.count(kind);
            let expands = again && kept.expands(kind, at_once) && kept.has_room(kind, bytes);
            (kept.keys.get(&kind).cloned(), again, expands, reread)
        };
        // Unlocked: reading and expanding use the thread pool, and a thread that waits in it may take up work that asks
        // for this very key. Two threads may then both make it, to the same residues.
        let key = match key {
            Some(key) => key,
            None => {
                let mut key = self.source.load(kind)?;
                if !reread {
                    key.unpool();
                }
                Arc::new(SwitchingKey::from(key))
            }
        };
        let key = match expands.then(|| key.expanded()).flatten() {
            Some(expanded) => Arc::new(expanded),
            None => key,
        };
        let mut kept = self.kept();
        if again {
            kept.insert(kind, &key);
        } else {
            kept.remove(kind);
        }
        Ok(key)
    }

    fn expanded_bytes(&self, spec: KeySpec) -> usize {
        SwitchingKey::expanded_bytes(&self.context, spec)
    }

    /// Forgets a key, which is read again when it is next asked for.
    pub fn evict(&self, kind: KeyKind) {
        self.kept().remove(kind);
    }

    /// Forgets every key.
    pub fn evict_all(&self) {
        let mut kept = self.kept();
        kept.keys.clear();
        kept.bytes = 0;
    }

    /// Bytes of all keys that are kept.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Packed keys in memory.
struct InMemory {
    context: Arc<Context>,
    keys: BTreeMap<KeyKind, (usize, Vec<u8>)>,
}

impl KeySource for InMemory {
    fn specs(&self) -> Vec<KeySpec> {
        self.keys.iter().map(|(&kind, &(level, _))| KeySpec { kind, level }).collect()
    }

    fn load(&self, kind: KeyKind) -> Result<PackedKey, FileError> {
        let (level, bytes) = self.keys.get(&kind).ok_or(FileError::NoKey(kind))?;
        let spec = KeySpec { kind, level: *level };
        PackedKey::new(&self.context, spec, bytes).ok_or(FileError::NoKey(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::SecretKey;
    use heplan_ir::parameters::{Parameters, ParametersLiteral};
    use heplan_ir::primes::near_power;
    use heplan_lattice::Seed;

    /// Ten rotation keys, and how many bytes each takes expanded.
    fn ten_keys() -> (EvaluationKeys, usize) {
        let q = near_power(30, 12).take(2).collect();
        let p = near_power(36, 12).take(1).collect();
        let literal = ParametersLiteral { log_n: 12, q, p, digit_size: 1 };
        let context = Context::new(&Parameters::new(literal).unwrap()).unwrap();
        let secret = SecretKey::from_seed(&context, &Seed::new([1; 32]));
        let spec = |by| KeySpec { kind: KeyKind::Rotate(by), level: 1 };
        let keys = (1..=10).map(|by| secret.evaluation_key(spec(by), &[2; 32]));
        let expanded = SwitchingKey::expanded_bytes(&context, spec(1));
        (EvaluationKeys::from_keys(&context, keys), expanded)
    }

    fn kinds() -> Vec<KeyKind> {
        (1..=10).map(KeyKind::Rotate).collect()
    }

    /// The bytes that are kept after a run, and those of the keys as they were given out.
    fn run(keys: &EvaluationKeys, order: &[KeyKind]) -> (usize, Vec<usize>) {
        let given = order.iter().map(|&kind| keys.get(kind, 1).unwrap().bytes()).collect();
        (keys.bytes(), given)
    }

    #[test]
    fn keys_are_expanded_only_where_all_have_room_or_they_are_used_at_once() {
        let (keys, expanded) = ten_keys();
        keys.set_budget(10 * expanded);
        keys.expect(&kinds(), 2);
        assert_eq!(run(&keys, &kinds()), (10 * expanded, vec![expanded; 10]));
        // Of the last run nothing is kept.
        assert_eq!(run(&keys, &kinds()), (0, vec![expanded; 10]));

        keys.set_budget(10 * expanded - 1);
        keys.expect(&kinds(), 2);
        let (kept, given) = run(&keys, &kinds());
        let packed = given[0];
        assert!(2 * packed < expanded + 4096, "{packed} of {expanded}");
        assert_eq!((kept, given), (10 * packed, vec![packed; 10]));

        // A key that comes twice in a row is worth it.
        let twice: Vec<KeyKind> = kinds().into_iter().flat_map(|kind| [kind, kind]).collect();
        keys.evict_all();
        keys.set_budget(2 * expanded);
        keys.expect(&twice, 1);
        assert_eq!(run(&keys, &twice), (0, vec![expanded; 20]));
    }
}

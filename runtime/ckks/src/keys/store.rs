//! The evaluation keys that a server holds: read and expanded on first use, kept until evicted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heplan_ir::plan::{KeyKind, KeySpec};

use crate::context::Context;
use crate::error::EvalError;
use crate::files::FileError;
use crate::keys::switching::{SeededKey, SwitchingKey};

/// Where keys come from: a file, or memory.
pub trait KeySource: Send + Sync {
    /// The keys that are there, one per kind.
    fn specs(&self) -> Vec<KeySpec>;

    /// Reads one of them.
    ///
    /// # Errors
    /// If the key is damaged or not there.
    fn load(&self, kind: KeyKind) -> Result<SeededKey, FileError>;
}

/// Keys by kind, expanded when first asked for.
pub struct EvaluationKeys {
    context: Arc<Context>,
    source: Box<dyn KeySource>,
    entries: BTreeMap<KeyKind, Entry>,
}

struct Entry {
    level: usize,
    expanded: Mutex<Option<Arc<SwitchingKey>>>,
}

impl Entry {
    fn expanded(&self) -> MutexGuard<'_, Option<Arc<SwitchingKey>>> {
        self.expanded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EvaluationKeys {
    /// The keys of a source.
    pub fn new(context: &Arc<Context>, source: impl KeySource + 'static) -> Self {
        let entry = |s: KeySpec| (s.kind, Entry { level: s.level, expanded: Mutex::default() });
        let entries = source.specs().into_iter().map(entry).collect();
        Self { context: Arc::clone(context), source: Box::new(source), entries }
    }

    /// Keys that are in memory already.
    pub fn from_keys(context: &Arc<Context>, keys: Vec<SeededKey>) -> Self {
        Self::new(context, InMemory(keys.into_iter().map(|k| (k.kind, k)).collect()))
    }

    /// What the keys belong to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Which keys there are, by kind.
    pub fn specs(&self) -> impl Iterator<Item = KeySpec> {
        self.entries.iter().map(|(&kind, e)| KeySpec { kind, level: e.level })
    }

    /// The key of a kind for an operand at `level`.
    ///
    /// # Errors
    /// If there is none, it does not reach the level, or it cannot be read.
    pub fn get(&self, kind: KeyKind, level: usize) -> Result<Arc<SwitchingKey>, EvalError> {
        let entry = self.entries.get(&kind).ok_or(EvalError::MissingKey(kind))?;
        if entry.level < level {
            return Err(EvalError::KeyLevel { kind, found: entry.level, needed: level });
        }
        if let Some(key) = entry.expanded().as_ref() {
            return Ok(Arc::clone(key));
        }
        // Unlocked: expansion uses the thread pool, and a thread that waits in it may take up work that asks for this
        // very key. Two threads may then both expand it, to the same residues.
        let key = Arc::new(self.source.load(kind)?.expand(&self.context));
        Ok(Arc::clone(entry.expanded().get_or_insert(key)))
    }

    /// Forgets the expanded form of a key, which is read again when it is next asked for.
    pub fn evict(&self, kind: KeyKind) {
        if let Some(entry) = self.entries.get(&kind) {
            *entry.expanded() = None;
        }
    }

    /// Forgets every expanded key.
    pub fn evict_all(&self) {
        self.entries.keys().for_each(|&kind| self.evict(kind));
    }

    /// Bytes of all expanded keys.
    pub fn bytes(&self) -> usize {
        let bytes = |e: &Entry| e.expanded().as_ref().map_or(0, |k| k.bytes());
        self.entries.values().map(bytes).sum()
    }
}

struct InMemory(BTreeMap<KeyKind, SeededKey>);

impl KeySource for InMemory {
    fn specs(&self) -> Vec<KeySpec> {
        self.0.values().map(|k| KeySpec { kind: k.kind, level: k.level }).collect()
    }

    fn load(&self, kind: KeyKind) -> Result<SeededKey, FileError> {
        self.0.get(&kind).cloned().ok_or(FileError::NoKey(kind))
    }
}

//! `.key.pub`: the evaluation keys of a client, one section each, so that one key is read and checked alone.
//!
//! A key is the seed of its uniform halves and the packed other halves. Nothing in the file is secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use heplan_ir::container::{self, Kind, Problem, SectionReader, SectionWriter};
use heplan_ir::parameters::{Parameters, ParametersLiteral};
use heplan_ir::plan::{KeyKind, KeySpec, PlanId};

use super::wire::{Reader, STREAMS, Writer, invalid};
use super::{FileError, Id};
use crate::context::Context;
use crate::keys::secret::KeyId;
use crate::keys::store::KeySource;
use crate::keys::switching::{PackedKey, SeededKey};

const HEADER: u64 = 0;
/// The key of index `i` is section `FIRST + i`.
const FIRST: u64 = 1;

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationKeysHeader {
    /// The plan that the keys are for.
    pub plan: PlanId,
    /// The secret key that they belong to.
    pub key: KeyId,
    /// Ring, primes, digits.
    pub parameters: Parameters,
    /// The keys, sorted by kind.
    pub keys: Vec<KeySpec>,
}

/// An open file of evaluation keys, of which nothing but the header has been read.
pub struct EvaluationKeysFile {
    header: EvaluationKeysHeader,
    sections: SectionReader,
}

impl EvaluationKeysFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// If it holds no evaluation keys, or is damaged.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let sections = SectionReader::open(path, Kind::EvaluationKeys)?;
        let header = parse_header(&sections.section(HEADER)?).map_err(|p| p.of(path))?;
        if !sections.ids().eq((0..=header.keys.len() as u64).map(|i| HEADER + i)) {
            return Err(invalid("its sections are not those of its keys").of(path).into());
        }
        Ok(Self { header, sections })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &EvaluationKeysHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.sections.path().to_path_buf()
    }

    /// Checks that the keys are for a plan.
    ///
    /// # Errors
    /// [`FileError::OtherPlan`].
    pub fn check_plan(&self, wanted: &PlanId) -> Result<(), FileError> {
        if self.header.plan == *wanted {
            return Ok(());
        }
        let (found, wanted) = (Id(self.header.plan), Id(*wanted));
        Err(FileError::OtherPlan { path: self.path(), found, wanted })
    }

    /// The keys as a source for an evaluator of this context.
    ///
    /// # Errors
    /// If the file's parameters are not those of the context.
    pub fn into_source(self, context: &Arc<Context>) -> Result<EvaluationKeysSource, FileError> {
        if self.header.parameters != *context.parameters() {
            let problem = invalid("its parameters are not those of the plan");
            return Err(problem.of(self.sections.path()).into());
        }
        Ok(EvaluationKeysSource { context: Arc::clone(context), file: self })
    }
}

/// Keys that are read from their file when asked for.
pub struct EvaluationKeysSource {
    context: Arc<Context>,
    file: EvaluationKeysFile,
}

impl KeySource for EvaluationKeysSource {
    fn specs(&self) -> Vec<KeySpec> {
        self.file.header.keys.clone()
    }

    fn load(&self, kind: KeyKind) -> Result<PackedKey, FileError> {
        let keys = &self.file.header.keys;
        let at =
            keys.binary_search_by_key(&kind, |k| k.kind).map_err(|_| FileError::NoKey(kind))?;
        let (sections, section) = (&self.file.sections, FIRST + at as u64);
        let length = PackedKey::len(&self.context, keys[at]) as u64;
        let key = match sections.length(section) {
            Some(found) if found == length => {
                let read = |lengths: &[usize], take: &mut dyn FnMut(&[u8])| {
                    sections.pieces(section, lengths, take)
                };
                PackedKey::read(&self.context, keys[at], read)?
            }
            _ => None,
        };
        key.ok_or_else(|| {
            let problem = invalid("a key of the wrong length, or a residue not below its prime");
            problem.of(sections.path()).into()
        })
    }
}

/// Writes evaluation keys as `make` makes them, one at a time, so that memory holds only one of them.
///
/// # Errors
/// If the target cannot be written.
///
/// # Panics
/// If `make` gives a key of another kind or level.
pub fn write_evaluation_keys(
    path: &Path,
    header: &EvaluationKeysHeader,
    mut make: impl FnMut(KeySpec) -> SeededKey,
) -> Result<(), FileError> {
    container::write_atomic(path, None, |out| {
        let mut sections = SectionWriter::new(out, Kind::EvaluationKeys, header.keys.len() + 1)?;
        sections.section(HEADER, &header_bytes(header))?;
        for (i, &spec) in header.keys.iter().enumerate() {
            let key = make(spec);
            assert_eq!((key.kind, key.level), (spec.kind, spec.level), "the key asked for");
            sections.section(FIRST + i as u64, &key.packed_bytes())?;
        }
        sections.finish().map(|_| ())
    })?;
    Ok(())
}

/// Bytes of one key in the file.
pub fn key_bytes(context: &Context, spec: KeySpec) -> usize {
    PackedKey::len(context, spec)
}

fn header_bytes(header: &EvaluationKeysHeader) -> Vec<u8> {
    let mut w = Writer::default();
    w.u16(STREAMS);
    w.bytes(&header.plan);
    w.bytes(&header.key);
    let literal = header.parameters.literal();
    w.u32(literal.log_n);
    w.primes(&literal.q);
    w.primes(&literal.p);
    w.count(literal.digit_size);
    w.count(header.keys.len());
    for spec in &header.keys {
        let (kind, by) = match spec.kind {
            KeyKind::Relinearise => (0, 0),
            KeyKind::Rotate(by) => (1, by),
            KeyKind::Conjugate => (2, 0),
            KeyKind::ToSparse => (3, 0),
            KeyKind::FromSparse => (4, 0),
        };
        w.u8(kind);
        w.u32(by);
        w.count(spec.level);
    }
    w.tail(header.parameters.batch(), header.parameters.bootstrap());
    w.0
}

fn parse_header(section: &[u8]) -> Result<EvaluationKeysHeader, Problem> {
    let mut r = Reader::new(section);
    r.streams()?;
    let (plan, key) = (r.array()?, r.array()?);
    let log_n = r.u32()?;
    let (q, p) = (r.primes()?, r.primes()?);
    let digit_size = r.count("primes of a digit", q.len())?;
    let literal = ParametersLiteral { log_n, q, p, digit_size };
    let parameters = Parameters::new(literal).map_err(|e| invalid(e.to_string()))?;
    let count = r.count("keys", parameters.width() + 1)?;
    let mut keys: Vec<KeySpec> = Vec::new();
    for _ in 0..count {
        let kind = match (r.u8()?, r.u32()?) {
            (0, 0) => KeyKind::Relinearise,
            (1, by) if by > 0 && (by as usize) < parameters.width() => KeyKind::Rotate(by),
            (2, 0) => KeyKind::Conjugate,
            (3, 0) => KeyKind::ToSparse,
            (4, 0) => KeyKind::FromSparse,
            _ => return Err(invalid("a key of no known kind")),
        };
        if keys.last().is_some_and(|last| last.kind >= kind) {
            return Err(invalid("its keys are not sorted"));
        }
        let level = r.count("levels of a key", parameters.max_level())?;
        keys.push(KeySpec { kind, level });
    }
    let (batch, bootstrap) = r.tail()?;
    let parameters = parameters.with_batch(batch).map_err(|e| invalid(e.to_string()))?;
    let parameters = match bootstrap {
        Some(bootstrap) => parameters.with_bootstrap(bootstrap),
        None => Ok(parameters),
    };
    let parameters = parameters.map_err(|e| invalid(e.to_string()))?;
    if parameters.bootstrap().is_none() && keys.iter().any(|k| is_sparse(k.kind)) {
        return Err(invalid("keys of a sparse secret without bootstrapping"));
    }
    if keys.iter().any(|k| k.kind == KeyKind::ToSparse && k.level > 0) {
        return Err(invalid("the key to the sparse secret above level 0"));
    }
    let width = parameters.width();
    if keys.iter().any(|k| matches!(k.kind, KeyKind::Rotate(by) if by as usize >= width)) {
        return Err(invalid("a key of no known kind"));
    }
    r.end()?;
    Ok(EvaluationKeysHeader { plan, key, parameters, keys })
}

const fn is_sparse(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::ToSparse | KeyKind::FromSparse)
}

//! The numbers of a plan's constants, compact.
//!
//! A transform of a convolution has thousands of diagonals, on each of which a few weights repeat
//! over the slots of an image, so slots are stored as runs of equal steps and values as runs where
//! that is shorter; zstd then finds what repeats between diagonals.
//!
//! ```text
//! constant  = 0 vector | 1 transform
//! vector    = length, length × f64
//! transform = width, period, inputs, outputs, diagonals, per diagonal:
//!             output, input, offset, n, steps, values
//! steps     = pairs (step, repeat) until n slots are told; the first step counts from slot -1
//! values    = 0, n × f32 | 1, pairs (repeat, f32) until n values are told
//! ```
//!
//! Integers are LEB128 varints, floats little-endian.
//! Every count is checked against the width before memory for it is reserved, and all diagonals
//! together hold at most [`MAX_ENTRIES`] values, so a small file cannot demand unbounded memory.

use std::io::{BufReader, Read};
use std::sync::Arc;

use super::PlanError;
use crate::constants::{ConstPool, Constant, ContentHash};
use crate::transform::{Diagonal, LinearTransform};

/// The most values that the transforms of a plan may hold together.
const MAX_ENTRIES: usize = 1 << 30;

/// zstd's level: beyond it, diagonals gain little.
const LEVEL: i32 = 6;

const VECTOR: u64 = 0;
const TRANSFORM: u64 = 1;
const PLAIN: u64 = 0;
const RUNS: u64 = 1;

/// Compresses the constants of a verified plan; others than vectors and transforms have no form.
pub(super) fn encode(consts: &ConstPool) -> Vec<u8> {
    let mut raw = Vec::new();
    for (_, constant) in consts.iter() {
        match constant {
            Constant::Vector(v) => {
                put(&mut raw, VECTOR);
                put(&mut raw, v.len() as u64);
                v.iter().for_each(|x| raw.extend(x.to_le_bytes()));
            }
            Constant::Transform(t) => {
                put(&mut raw, TRANSFORM);
                put_transform(&mut raw, t);
            }
            Constant::Matrix(_) | Constant::Polynomials(_) => {}
        }
    }
    zstd::bulk::compress(&raw, LEVEL).expect("compression into memory does not fail")
}

fn put_transform(raw: &mut Vec<u8>, t: &LinearTransform) {
    let head = [t.width, t.period, t.inputs, t.outputs, t.diagonals.len()];
    head.into_iter().for_each(|n| put(raw, n as u64));
    for d in &t.diagonals {
        [d.output, d.input, d.offset].into_iter().for_each(|n| put(raw, n.into()));
        put(raw, d.slots.len() as u64);
        let before = std::iter::once(0).chain(d.slots.iter().map(|s| s + 1));
        let steps: Vec<u32> = before.zip(&d.slots).map(|(b, s)| s + 1 - b).collect();
        for run in steps.chunk_by(|a, b| a == b) {
            put(raw, run[0].into());
            put(raw, run.len() as u64);
        }
        let runs: Vec<&[f32]> = d.values.chunk_by(|a, b| a.to_bits() == b.to_bits()).collect();
        if runs.len() * 5 <= d.values.len() * 4 {
            put(raw, RUNS);
            for run in runs {
                put(raw, run.len() as u64);
                raw.extend(run[0].to_le_bytes());
            }
        } else {
            put(raw, PLAIN);
            d.values.iter().for_each(|v| raw.extend(v.to_le_bytes()));
        }
    }
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Decompresses exactly the constants with these hashes, for ciphertexts of `width` slots.
pub(super) fn decode(
    bytes: &[u8],
    hashes: &[ContentHash],
    width: usize,
) -> Result<ConstPool, PlanError> {
    let fail = |index| move |reason: String| PlanError::Constant { index, reason };
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
    let decoder = decoder.map_err(|e| fail(0)(e.to_string()))?;
    let mut source = Source { from: BufReader::new(decoder), width, left: MAX_ENTRIES };
    let mut pool = ConstPool::default();
    for (index, hash) in hashes.iter().enumerate() {
        let constant = source.constant().map_err(fail(index))?;
        let id = pool.add(constant);
        if id.index() != index {
            return Err(fail(index)(format!("equals constant {}", id.index())));
        }
        if pool.hash(id) != *hash {
            return Err(fail(index)(format!("content is {}, not {hash}", pool.hash(id))));
        }
    }
    let mut rest = [0];
    match source.from.read(&mut rest) {
        Ok(0) => Ok(pool),
        Ok(_) => Err(fail(hashes.len())("there are bytes after the last one".into())),
        Err(e) => Err(fail(hashes.len())(e.to_string())),
    }
}

/// Reads numbers and keeps the budget of entries.
struct Source<R> {
    from: R,
    width: usize,
    left: usize,
}

impl<R: Read> Source<R> {
    fn constant(&mut self) -> Result<Constant, String> {
        match self.varint()? {
            VECTOR => {
                let n = self.count("length of a vector", self.width)?;
                let mut v = Vec::with_capacity(n);
                for _ in 0..n {
                    v.push(f64::from_le_bytes(self.bytes()?));
                }
                Ok(Constant::Vector(Arc::new(v)))
            }
            TRANSFORM => Ok(Constant::Transform(Arc::new(self.transform()?))),
            other => Err(format!("kind {other} is not known")),
        }
    }

    fn transform(&mut self) -> Result<LinearTransform, String> {
        let width = self.count("width", self.width)?;
        let period = self.count("period", width)?;
        let inputs = self.count("number of inputs", u32::MAX as usize)?;
        let outputs = self.count("number of outputs", u32::MAX as usize)?;
        let count = self.varint()?;
        let mut diagonals = Vec::new();
        for _ in 0..count {
            let output = self.index("output", outputs)?;
            let input = self.index("input", inputs)?;
            let offset = self.index("offset", width)?;
            let n = self.count("number of slots", period)?;
            self.left =
                self.left.checked_sub(n).ok_or(format!("more than {MAX_ENTRIES} values"))?;
            let slots = self.slots(n, period)?;
            let values = self.values(n)?;
            diagonals.push(Diagonal { output, input, offset, slots, values });
        }
        Ok(LinearTransform { width, period, inputs, outputs, diagonals })
    }

    fn slots(&mut self, n: usize, period: usize) -> Result<Vec<u32>, String> {
        let mut slots = Vec::with_capacity(n);
        let mut next = 0;
        while slots.len() < n {
            let step = self.count("step", period)?;
            let repeat = self.count("repeat", n - slots.len())?;
            for _ in 0..repeat {
                next += step;
                slots.push(u32::try_from(next - 1).map_err(|e| e.to_string())?);
            }
        }
        if next > period { Err(format!("slot {} of {period}", next - 1)) } else { Ok(slots) }
    }

    fn values(&mut self, n: usize) -> Result<Vec<f32>, String> {
        match self.varint()? {
            PLAIN => {
                let mut raw = vec![0; n * 4];
                self.from.read_exact(&mut raw).map_err(|e| e.to_string())?;
                Ok(raw.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect())
            }
            RUNS => {
                let mut values = Vec::with_capacity(n);
                while values.len() < n {
                    let repeat = self.count("repeat", n - values.len())?;
                    let value = f32::from_le_bytes(self.bytes()?);
                    values.extend(std::iter::repeat_n(value, repeat));
                }
                Ok(values)
            }
            other => Err(format!("form {other} of values is not known")),
        }
    }

    /// A number between 1 and `max`.
    fn count(&mut self, what: &str, max: usize) -> Result<usize, String> {
        let found = self.varint()?;
        let n = usize::try_from(found).ok().filter(|n| (1..=max).contains(n));
        n.ok_or_else(|| format!("{what} is {found}, at most {max} is possible"))
    }

    /// A number below `end`.
    fn index(&mut self, what: &str, end: usize) -> Result<u32, String> {
        let found = self.varint()?;
        let n = u32::try_from(found).ok().filter(|&n| (n as usize) < end);
        n.ok_or_else(|| format!("{what} is {found} of {end}"))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.bytes()?;
            let bits = u64::from(byte & 0x7f);
            n |= bits.checked_shl(shift).filter(|b| b >> shift == bits).ok_or("number too long")?;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err("number too long".into())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

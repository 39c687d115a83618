//! `.enc`: the encrypted inputs or outputs of a plan for any number of samples, one section per ciphertext.
//!
//! Fresh ciphertexts hold a seed in the place of their second polynomial: half the size; and of the first what is not left
//! out ([`Compact`]). Inputs of which something is left out are a direction of their own in the header, which older
//! readers refuse.

use std::path::{Path, PathBuf};

use heplan_ir::container::{self, Kind, Problem, SectionReader, SectionWriter};
use heplan_ir::plan::PlanId;
use heplan_ir::slots::Compact;
use heplan_lattice::Seed;
use rayon::prelude::*;

use super::pack::{pack, pack_compact, packed_len, unpack, unpack_compact};
use super::wire::{Reader, STREAMS, Writer, invalid};
use super::{FileError, Id};
use crate::ciphertext::{Ciphertext, FreshCiphertext};
use crate::context::Context;
use crate::keys::secret::KeyId;

const HEADER: u64 = 0;
/// The ciphertext of index `i` is section `FIRST + i`.
const FIRST: u64 = 1;

/// What a header holds, as a number.
const INPUTS: u8 = 0;
const OUTPUTS: u8 = 1;
const COMPACT_INPUTS: u8 = 2;

const MOST_NAME: usize = 1 << 12;
const MOST_PORTS: usize = 1 << 10;
const MOST_AXES: usize = 32;
const MOST_SECTIONS: usize = 1 << 24;

/// What a file of ciphertexts holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What a client encrypted.
    Inputs,
    /// What a plan computed.
    Outputs,
}

impl Direction {
    /// `inputs` or `outputs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
        }
    }
}

/// One input or output of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHeader {
    /// Its ONNX name.
    pub name: String,
    /// Its tensor's shape.
    pub shape: Vec<usize>,
    /// Ciphertexts that hold one sample of it, or `batch` samples.
    pub parts: usize,
    /// What is left out of each.
    pub compact: Compact,
}

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct CiphertextHeader {
    /// Inputs or outputs.
    pub direction: Direction,
    /// The plan that they are for.
    pub plan: PlanId,
    /// The secret key that they are under.
    pub key: KeyId,
    /// Drawn by the client for each request, and handed back with the outputs.
    pub request: [u8; 16],
    /// Number of samples.
    pub samples: usize,
    /// Samples that share a ciphertext; the last ciphertexts may hold fewer.
    pub batch: usize,
    /// Inputs or outputs, in the order of the plan.
    pub ports: Vec<PortHeader>,
}

impl CiphertextHeader {
    /// Runs of the plan that the samples take.
    pub fn runs(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// Ciphertexts of one run.
    pub fn parts(&self) -> usize {
        self.ports.iter().map(|p| p.parts).sum()
    }
}

/// A ciphertext to be written.
pub enum Stored<'a> {
    /// With its seed.
    Fresh(&'a FreshCiphertext),
    /// With all polynomials.
    Full(&'a Ciphertext),
}

/// An open file of ciphertexts, of which nothing but the header has been read.
pub struct CiphertextFile {
    header: CiphertextHeader,
    sections: SectionReader,
}

impl CiphertextFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// If it holds no ciphertexts, or is damaged.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let sections = SectionReader::open(path, Kind::Ciphertext)?;
        let header = parse_header(&sections.section(HEADER)?).map_err(|p| p.of(path))?;
        let total = header.runs() as u64 * header.parts() as u64;
        if !sections.ids().eq((0..=total).map(|i| HEADER + i)) {
            return Err(invalid("its sections are not those of its ciphertexts").of(path).into());
        }
        Ok(Self { header, sections })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &CiphertextHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.sections.path().to_path_buf()
    }

    /// Checks what the file holds, for which plan, under which key, how many samples to a ciphertext.
    ///
    /// # Errors
    /// [`FileError::Direction`], [`FileError::OtherPlan`], [`FileError::OtherKey`], [`FileError::Batch`].
    pub fn check(
        &self,
        direction: Direction,
        plan: &PlanId,
        key: &KeyId,
        batch: usize,
    ) -> Result<(), FileError> {
        let (header, path) = (&self.header, self.path());
        if header.direction != direction {
            let (found, wanted) = (header.direction.name(), direction.name());
            return Err(FileError::Direction { path, found, wanted });
        }
        if header.plan != *plan {
            let (found, wanted) = (Id(header.plan), Id(*plan));
            return Err(FileError::OtherPlan { path, found, wanted });
        }
        if header.key != *key {
            let (found, wanted) = (Id(header.key), Id(*key));
            return Err(FileError::OtherKey { path, found, wanted });
        }
        if header.batch != batch {
            let (found, wanted) = (header.batch, batch);
            return Err(FileError::Batch { path, found, wanted });
        }
        Ok(())
    }

    /// Reads what one run of the plan takes or gave: per port, its ciphertexts.
    ///
    /// # Errors
    /// If a ciphertext is damaged or does not fit the parameters, or there is no such run.
    pub fn run(&self, context: &Context, run: usize) -> Result<Vec<Vec<Ciphertext>>, FileError> {
        let path = self.sections.path();
        if run >= self.header.runs() {
            return Err(invalid(format!("it has nothing for run {run}")).of(path).into());
        }
        let first = FIRST + run as u64 * self.header.parts() as u64;
        let read = |(i, compact): (u64, Compact)| -> Result<Ciphertext, FileError> {
            let section = self.sections.section(i)?;
            parse_ciphertext(context, &section, compact).map_err(|p| p.of(path).into())
        };
        let ports = self.header.ports.iter();
        let compact = ports.flat_map(|p| std::iter::repeat_n(p.compact, p.parts));
        let all: Vec<(u64, Compact)> = (first..).zip(compact).collect();
        let all: Result<Vec<Ciphertext>, FileError> = all.into_par_iter().map(read).collect();
        let mut all = all?.into_iter();
        Ok(self.header.ports.iter().map(|p| all.by_ref().take(p.parts).collect()).collect())
    }
}

/// Writes ciphertexts as `make` makes them, run by run, port by port, part by part.
///
/// # Errors
/// If the target cannot be written, or what `make` returns.
pub fn write_ciphertexts<C: Storable>(
    path: &Path,
    header: &CiphertextHeader,
    mut make: impl FnMut(usize, usize, usize) -> C,
) -> Result<(), FileError> {
    let total = header.runs() * header.parts();
    container::write_atomic(path, None, |out| {
        let mut sections = SectionWriter::new(out, Kind::Ciphertext, total + 1)?;
        sections.section(HEADER, &header_bytes(header))?;
        let mut id = FIRST;
        for run in 0..header.runs() {
            for (port, of_port) in header.ports.iter().enumerate() {
                for part in 0..of_port.parts {
                    sections.section(id, &ciphertext_bytes(&make(run, port, part).stored()))?;
                    id += 1;
                }
            }
        }
        sections.finish().map(|_| ())
    })?;
    Ok(())
}

/// What can be written to a file of ciphertexts.
pub trait Storable {
    /// The form in which it is stored.
    fn stored(&self) -> Stored<'_>;
}

impl Storable for FreshCiphertext {
    fn stored(&self) -> Stored<'_> {
        Stored::Fresh(self)
    }
}

impl Storable for &FreshCiphertext {
    fn stored(&self) -> Stored<'_> {
        Stored::Fresh(self)
    }
}

impl Storable for &Ciphertext {
    fn stored(&self) -> Stored<'_> {
        Stored::Full(self)
    }
}

fn ciphertext_bytes(ct: &Stored<'_>) -> Vec<u8> {
    let mut w = Writer::default();
    let (level, parts, scale) = match ct {
        Stored::Fresh(c) => (c.level(), 0, &c.scale),
        Stored::Full(c) => (c.level(), c.degree() + 1, &c.scale),
    };
    w.u16(u16::try_from(level).expect("at most 255 levels"));
    w.u8(parts);
    w.scale(scale);
    match ct {
        Stored::Fresh(c) => {
            w.bytes(c.mask.as_bytes());
            match c.compact {
                Compact::NONE => pack(&c.c0, &mut w.0),
                compact => pack_compact(&c.c0, compact, &mut w.0),
            }
        }
        Stored::Full(c) => c.parts.iter().for_each(|p| pack(p, &mut w.0)),
    }
    w.0
}

fn parse_ciphertext(
    context: &Context,
    section: &[u8],
    compact: Compact,
) -> Result<Ciphertext, Problem> {
    let mut r = Reader::new(section);
    let level = usize::from(r.u16()?);
    if level > context.parameters().max_level() {
        return Err(invalid(format!("a ciphertext at level {level}")));
    }
    let parts = r.u8()?;
    let scale = r.scale(context.parameters().q())?;
    let (ring, basis) = (context.ring(), context.basis_q(level));
    let size = packed_len(ring, basis);
    match parts {
        0 => {
            let mask = Seed::new(r.array()?);
            let c0 = match compact {
                Compact::NONE => unpack(ring, basis, r.rest())?,
                compact => unpack_compact(ring, basis, compact, r.rest())?,
            };
            Ok(FreshCiphertext { c0, mask, scale, compact }.expand())
        }
        2 | 3 => {
            let polys: Result<_, Problem> =
                (0..parts).map(|_| unpack(ring, basis, r.bytes(size)?)).collect();
            let polys = polys?;
            r.end()?;
            Ok(Ciphertext { parts: polys, scale })
        }
        other => Err(invalid(format!("a ciphertext of {other} polynomials"))),
    }
}

fn header_bytes(header: &CiphertextHeader) -> Vec<u8> {
    let mut w = Writer::default();
    w.u16(STREAMS);
    let compact = header.direction == Direction::Inputs
        && header.ports.iter().any(|p| p.compact != Compact::NONE);
    w.u8(match header.direction {
        Direction::Inputs if compact => COMPACT_INPUTS,
        Direction::Inputs => INPUTS,
        Direction::Outputs => OUTPUTS,
    });
    w.bytes(&header.plan);
    w.bytes(&header.key);
    w.bytes(&header.request);
    w.count(header.samples);
    w.count(header.ports.len());
    for port in &header.ports {
        w.text(&port.name);
        w.count(port.shape.len());
        port.shape.iter().for_each(|&d| w.u64(d as u64));
        w.count(port.parts);
        if compact {
            w.u32(port.compact.rotations);
            w.u8(u8::from(port.compact.conjugate));
        }
    }
    w.batch(header.batch);
    w.0
}

fn parse_header(section: &[u8]) -> Result<CiphertextHeader, Problem> {
    let mut r = Reader::new(section);
    r.streams()?;
    let code = r.u8()?;
    let direction = match code {
        INPUTS | COMPACT_INPUTS => Direction::Inputs,
        OUTPUTS => Direction::Outputs,
        other => return Err(invalid(format!("direction number {other} is unknown"))),
    };
    let (plan, key, request) = (r.array()?, r.array()?, r.array()?);
    let samples = r.count("samples", MOST_SECTIONS)?;
    let count = r.count("ports", MOST_PORTS)?;
    let mut ports = Vec::new();
    for _ in 0..count {
        let name = r.text("a port's name", MOST_NAME)?;
        let axes = r.count("axes", MOST_AXES)?;
        let shape: Result<Vec<usize>, Problem> = (0..axes)
            .map(|_| usize::try_from(r.u64()?).map_err(|_| invalid("an axis is too long")))
            .collect();
        let parts = r.count("ciphertexts of a port", MOST_SECTIONS)?;
        let compact = if code == COMPACT_INPUTS { r.compact()? } else { Compact::NONE };
        ports.push(PortHeader { name, shape: shape?, parts, compact });
    }
    let batch = r.batch()?;
    r.end()?;
    Ok(CiphertextHeader { direction, plan, key, request, samples, batch, ports })
}

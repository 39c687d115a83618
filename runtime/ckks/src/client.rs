//! The client's side: making keys, encrypting inputs, decrypting outputs.
//!
//! A [`Client`] holds the secret key. It decrypts only what carries its plan, its key and the declared types, since acting
//! on the decryption of anything else would answer questions about the key.

use std::path::Path;
use std::sync::Arc;

use heplan_ir::ckks::CtType;
use heplan_ir::plan::{KeyKind, KeyParams, KeySpec};
use heplan_ir::slots::Port;
use heplan_lattice::{RingError, Seed};
use thiserror::Error;

use crate::ciphertext::{Ciphertext, FreshCiphertext};
use crate::context::Context;
use crate::encoder::EncodeError;
use crate::files::FileError;
use crate::files::ciphertexts::{
    CiphertextFile, CiphertextHeader, Direction, PortHeader, write_ciphertexts,
};
use crate::files::evaluation_keys::{EvaluationKeysHeader, key_bytes, write_evaluation_keys};
use crate::files::secret_key::SecretKeyFile;
use crate::keys::secret::{KeyId, SecretKey};

/// Why the client's command stops.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The lattice cannot carry the parameters.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value cannot be encoded.
    #[error("input {name:?}: {source}")]
    Encode {
        /// The input.
        name: String,
        /// Why.
        source: EncodeError,
    },
    /// The key parameters ask for what their own parameters do not have.
    #[error("the key parameters are inconsistent: {0}")]
    KeyParams(String),
    /// A sample does not fit the plan.
    #[error("{what} has {found}, the plan takes {needed}")]
    Shape {
        /// What does not fit.
        what: String,
        /// What was found.
        found: usize,
        /// What fits.
        needed: usize,
    },
    /// A result is not of the type that the plan declares.
    #[error("output {name:?} comes back at level {}, scale 2^{}, degree {}, not at level {}, scale 2^{}, degree {}; it was not computed by this plan", found.level, found.scale, found.degree, declared.level, declared.scale, declared.degree)]
    Type {
        /// The output.
        name: String,
        /// What the key parameters declare.
        declared: Box<CtType>,
        /// What came back.
        found: Box<CtType>,
    },
    /// A result of another request.
    #[error("the outputs answer another request than the inputs given with them")]
    Request,
}

/// A secret key with the key parameters that it belongs to.
pub struct Client {
    keyparams: KeyParams,
    secret: SecretKey,
}

/// An encrypted batch: header and, in the order of the file, every ciphertext.
pub struct EncryptedInputs {
    header: CiphertextHeader,
    parts: Vec<FreshCiphertext>,
}

/// How outputs are decrypted.
pub enum Sharing<'a> {
    /// For the key's owner alone.
    Private,
    /// For handing on: every slot carries Gaussian noise of deviation `2^-bits` in the plan's normalised units, drawn
    /// from a seed that serves this one call. About `bits` bits remain (ePrint 2024/853).
    Flooded {
        /// Bits that may remain.
        bits: f64,
        /// Where the noise comes from.
        randomness: &'a Seed,
    },
}

impl Client {
    /// The client of a seed, for checked key parameters.
    ///
    /// # Errors
    /// If the key parameters contradict themselves.
    pub fn new(keyparams: KeyParams, seed: &Seed) -> Result<Self, ClientError> {
        check_keyparams(&keyparams)?;
        let context = Context::new(&keyparams.parameters)?;
        Ok(Self { keyparams, secret: SecretKey::from_seed(&context, seed) })
    }

    /// The client whose secret key is in a file.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_file(file: SecretKeyFile) -> Result<Self, ClientError> {
        Self::new(file.keyparams, &file.seed)
    }

    /// The key parameters.
    pub fn keyparams(&self) -> &KeyParams {
        &self.keyparams
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The public identity of the key.
    pub fn id(&self) -> KeyId {
        self.secret.id()
    }

    fn context(&self) -> &Arc<Context> {
        self.secret.context()
    }

    /// Bytes that the file of evaluation keys will take, but for its header.
    pub fn evaluation_key_bytes(&self) -> usize {
        self.keyparams.keys.iter().map(|&k| key_bytes(self.context(), k)).sum()
    }

    /// Makes the evaluation keys and writes them; `progress` is told of each key that is about to be made.
    ///
    /// # Errors
    /// If the target cannot be written.
    pub fn write_evaluation_keys(
        &self,
        path: &Path,
        mut progress: impl FnMut(KeySpec),
    ) -> Result<(), ClientError> {
        let header = EvaluationKeysHeader {
            plan: self.keyparams.plan,
            key: self.id(),
            parameters: self.keyparams.parameters.clone(),
            keys: self.keyparams.keys.clone(),
        };
        write_evaluation_keys(path, &header, |spec| {
            progress(spec);
            self.secret.evaluation_key(spec, &self.keyparams.plan)
        })?;
        Ok(())
    }

    /// Encrypts samples: per sample, per input, the tensor in row-major order, in its own units.
    /// As many share a ciphertext as the plan says; what the last ones leave free, the last sample fills.
    /// `randomness` must serve this one call only.
    ///
    /// # Errors
    /// If a tensor does not fit its input, or a value is too large.
    pub fn encrypt(
        &self,
        samples: &[Vec<Vec<f64>>],
        randomness: &Seed,
    ) -> Result<EncryptedInputs, ClientError> {
        let inputs = &self.keyparams.inputs;
        for (s, sample) in samples.iter().enumerate() {
            check_count(|| format!("sample {s}"), sample.len(), inputs.len())?;
            for ((port, _), tensor) in inputs.iter().zip(sample) {
                let what = || format!("input {:?} of sample {s}", port.name);
                check_count(what, tensor.len(), port.elements())?;
            }
        }
        let batch = self.batch();
        let mut parts = Vec::new();
        for (run, lanes) in samples.chunks(batch).enumerate() {
            for (i, (port, ty)) in inputs.iter().enumerate() {
                let tensors: Vec<&[f64]> = lanes.iter().map(|s| s[i].as_slice()).collect();
                for (k, slots) in port.pack_batch(&tensors, batch).iter().enumerate() {
                    let place = [run as u64, i as u64, k as u64];
                    let seed = randomness.derive("ciphertext", &place);
                    parts.push(self.encrypt_slots(port, slots, ty, &seed)?);
                }
            }
        }
        let mut request = [0; 16];
        request.copy_from_slice(&randomness.derive("request", &[]).as_bytes()[..16]);
        let header = CiphertextHeader {
            direction: Direction::Inputs,
            plan: self.keyparams.plan,
            key: self.id(),
            request,
            samples: samples.len(),
            batch,
            ports: port_headers(inputs.iter().map(|(port, _)| port)),
        };
        Ok(EncryptedInputs { header, parts })
    }

    fn encrypt_slots(
        &self,
        port: &Port,
        slots: &[f64],
        ty: &CtType,
        randomness: &Seed,
    ) -> Result<FreshCiphertext, ClientError> {
        let plaintext = self
            .context()
            .encoder()
            .encode(slots, &ty.scale)
            .map_err(|source| ClientError::Encode { name: port.name.clone(), source })?;
        let fresh = self.secret.encrypt(&plaintext, &ty.scale, ty.level, randomness);
        Ok(fresh.compacted(port.compact))
    }

    /// Decrypts the outputs in a file: per sample, per output, the tensor in row-major order, in its own units.
    ///
    /// `request` is that of the inputs, where they are at hand: outputs of another request are refused.
    ///
    /// # Errors
    /// If the file is not of this plan, key and request, is damaged, or holds ciphertexts of other types than declared.
    pub fn decrypt(
        &self,
        file: &CiphertextFile,
        request: Option<&[u8; 16]>,
        sharing: &Sharing<'_>,
    ) -> Result<Vec<Vec<Vec<f64>>>, ClientError> {
        file.check(Direction::Outputs, &self.keyparams.plan, &self.id(), self.batch())?;
        if request.is_some_and(|r| *r != file.header().request) {
            return Err(ClientError::Request);
        }
        let outputs = &self.keyparams.outputs;
        let found = &file.header().ports;
        check_count(|| format!("{}", file.path().display()), found.len(), outputs.len())?;
        for (header, (port, _)) in found.iter().zip(outputs) {
            let what = || format!("output {:?}", port.name);
            check_count(what, header.parts, port.layout.ciphertexts())?;
        }
        let (batch, mut answers) = (self.batch(), Vec::new());
        for run in 0..file.header().runs() {
            let lanes = batch.min(file.header().samples - run * batch);
            let mut samples = vec![Vec::with_capacity(outputs.len()); lanes];
            let parts = file.run(self.context(), run)?;
            for (i, ((port, ty), parts)) in outputs.iter().zip(parts).enumerate() {
                let place = [run as u64, i as u64];
                let slots = self.decrypt_port(port, ty, &parts, sharing, place)?;
                for (lane, sample) in samples.iter_mut().enumerate() {
                    sample.push(port.unpack_lane(&slots, lane, batch));
                }
            }
            answers.append(&mut samples);
        }
        Ok(answers)
    }

    /// Samples that share a ciphertext.
    fn batch(&self) -> usize {
        self.keyparams.parameters.batch()
    }

    /// The slots of an output's ciphertexts.
    fn decrypt_port(
        &self,
        port: &Port,
        declared: &CtType,
        parts: &[Ciphertext],
        sharing: &Sharing<'_>,
        place: [u64; 2],
    ) -> Result<Vec<Vec<f64>>, ClientError> {
        let mut slots = Vec::with_capacity(parts.len());
        for (k, ct) in parts.iter().enumerate() {
            if ct.ty() != *declared {
                let (name, declared) = (port.name.clone(), Box::new(declared.clone()));
                return Err(ClientError::Type { name, declared, found: Box::new(ct.ty()) });
            }
            slots.push(match sharing {
                Sharing::Private => self.secret.decrypt(ct),
                Sharing::Flooded { bits, randomness } => {
                    let seed = randomness.derive("output", &[place[0], place[1], k as u64]);
                    self.secret.decrypt_flooded(ct, 2f64.powf(-bits), &seed)
                }
            });
        }
        Ok(slots)
    }
}

impl EncryptedInputs {
    /// What the file will say of itself.
    pub fn header(&self) -> &CiphertextHeader {
        &self.header
    }

    /// The ciphertexts as the server reads them: per run, per input, its parts.
    pub fn expand(&self) -> Vec<Vec<Vec<Ciphertext>>> {
        let mut parts = self.parts.iter().map(FreshCiphertext::expand);
        let ports = &self.header.ports;
        (0..self.header.runs())
            .map(|_| ports.iter().map(|p| parts.by_ref().take(p.parts).collect()).collect())
            .collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the target cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let mut parts = self.parts.iter();
        write_ciphertexts(path, &self.header, |_, _, _| {
            parts.next().expect("one ciphertext per part of every port of every sample")
        })
    }
}

/// The ports of a file of ciphertexts.
pub(crate) fn port_headers<'a>(ports: impl Iterator<Item = &'a Port>) -> Vec<PortHeader> {
    ports
        .map(|p| PortHeader {
            name: p.name.clone(),
            shape: p.shape.clone(),
            parts: p.layout.ciphertexts(),
            compact: p.compact,
        })
        .collect()
}

fn check_count(what: impl Fn() -> String, found: usize, needed: usize) -> Result<(), ClientError> {
    if found == needed { Ok(()) } else { Err(ClientError::Shape { what: what(), found, needed }) }
}

/// Whatever later steps rely on.
fn check_keyparams(k: &KeyParams) -> Result<(), ClientError> {
    let (top, width) = (k.parameters.max_level(), k.parameters.width());
    let refuse = |text: String| Err(ClientError::KeyParams(text));
    if let Some(spec) = k.keys.iter().find(|s| s.level > top) {
        return refuse(format!("a key for level {}, the highest is {top}", spec.level));
    }
    let to_sparse = |s: &&KeySpec| s.kind == KeyKind::ToSparse && s.level > 0;
    if let Some(spec) = k.keys.iter().find(to_sparse) {
        return refuse(format!("{} at level {}", spec.kind, spec.level));
    }
    let sparse = |s: &KeySpec| matches!(s.kind, KeyKind::ToSparse | KeyKind::FromSparse);
    if k.parameters.bootstrap().is_none() && k.keys.iter().any(sparse) {
        return refuse("keys of a sparse secret without bootstrapping".into());
    }
    if k.keys.windows(2).any(|w| w[0].kind >= w[1].kind) {
        return refuse("keys are not sorted".into());
    }
    for (port, ty) in k.inputs.iter().chain(&k.outputs) {
        if ty.level > top {
            return refuse(format!(
                "port {:?} at level {}, the highest is {top}",
                port.name, ty.level
            ));
        }
        let elements = port.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let problems = elements.map(|n| port.layout.problems(n));
        match problems.as_deref() {
            Some([]) if port.layout.width == width => {}
            Some([problem, ..]) => return refuse(format!("port {:?}: {problem}", port.name)),
            _ => return refuse(format!("port {:?} does not fit {width} slots", port.name)),
        }
        if port.compact.rotations > port.most_rotations() {
            return refuse(format!("port {:?} leaves out what does not repeat", port.name));
        }
        if !port.factor.is_finite() || port.factor == 0.0 {
            return refuse(format!("port {:?} has the factor {}", port.name, port.factor));
        }
    }
    Ok(())
}

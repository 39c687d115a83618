//! `.key`: a secret seed and the key parameters that it belongs to, for its owner's eyes only (mode 0600).
//!
//! With a passphrase the seed is sealed by XChaCha20-Poly1305 under a key from Argon2id; header and key parameters are
//! bound to it as associated data.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use heplan_ir::container::{self, Kind, Problem, SECRET_MODE, SectionReader, SectionWriter};
use heplan_ir::plan::{KeyParams, PlanId};
use heplan_lattice::Seed;
use zeroize::Zeroizing;

use super::FileError;
use super::wire::{Reader, Writer, invalid};
use crate::keys::secret::{KeyId, key_id};

const HEADER: u64 = 0;
const SECRET: u64 = 1;
const KEYPARAMS: u64 = 2;

/// Memory in KiB, passes and lanes that new files ask of Argon2id.
const COST: [u32; 3] = [64 << 10, 3, 1];
/// The most that a file may ask for.
const MOST_COST: [u32; 3] = [1 << 20, 16, 8];

/// The content of a secret key file. Has no `Debug`; the seed is wiped on drop.
pub struct SecretKeyFile {
    /// The key parameters.
    pub keyparams: KeyParams,
    /// What the secret key is derived from.
    pub seed: Seed,
}

/// How a seed is sealed.
struct Protection {
    salt: [u8; 16],
    cost: [u32; 3],
    nonce: [u8; 24],
}

impl SecretKeyFile {
    /// The public identity of the key.
    pub fn id(&self) -> KeyId {
        key_id(&self.seed)
    }

    /// Writes the file, readable by its owner only; `randomness` gives salt and nonce of a passphrase.
    ///
    /// # Errors
    /// If the target cannot be written.
    pub fn write(
        &self,
        path: &Path,
        passphrase: Option<&str>,
        randomness: &Seed,
    ) -> Result<(), FileError> {
        let protection = passphrase.map(|_| Protection::new(randomness));
        let header = header(&self.keyparams.plan, &self.id(), protection.as_ref());
        let keyparams = self.keyparams.to_text();
        let mut secret = Zeroizing::new(self.seed.as_bytes().to_vec());
        if let (Some(passphrase), Some(protection)) = (passphrase, &protection) {
            let associated = associated(&header, keyparams.as_bytes());
            secret = protection
                .cipher(passphrase)
                .and_then(|c| {
                    let payload = Payload { msg: &secret, aad: &associated };
                    c.encrypt(&XNonce::from(protection.nonce), payload).ok()
                })
                .map(Zeroizing::new)
                .ok_or_else(|| invalid("the passphrase cannot be used").of(path))?;
        }
        container::write_atomic(path, Some(SECRET_MODE), |out| {
            let mut sections = SectionWriter::new(out, Kind::SecretKey, 3)?;
            sections.section(HEADER, &header)?;
            sections.section(SECRET, &secret)?;
            sections.section(KEYPARAMS, keyparams.as_bytes())?;
            sections.finish().map(|_| ())
        })?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is no secret key, damaged, or the passphrase is missing or wrong.
    pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Self, FileError> {
        let sections = SectionReader::open(path, Kind::SecretKey)?;
        let header = sections.section(HEADER)?;
        let (plan, id, protection) = parse_header(&header).map_err(|p| p.of(path))?;
        let text = sections.section(KEYPARAMS)?;
        let keyparams = KeyParams::from_text(&text)
            .map_err(|p| invalid(format!("its section of key parameters {p}")).of(path))?;
        if keyparams.plan != plan {
            return Err(invalid("its key parameters are those of another plan").of(path).into());
        }
        let mut secret = Zeroizing::new(sections.section(SECRET)?);
        if let Some(protection) = protection {
            let path_buf = || path.to_path_buf();
            let passphrase =
                passphrase.ok_or_else(|| FileError::PassphraseNeeded { path: path_buf() })?;
            let associated = associated(&header, &text);
            secret = protection
                .cipher(passphrase)
                .and_then(|c| {
                    let payload = Payload { msg: &secret, aad: &associated };
                    c.decrypt(&XNonce::from(protection.nonce), payload).ok()
                })
                .map(Zeroizing::new)
                .ok_or_else(|| FileError::PassphraseWrong { path: path_buf() })?;
        }
        let mut bytes = Zeroizing::new([0; 32]);
        if secret.len() != bytes.len() {
            return Err(invalid("a secret of the wrong length").of(path).into());
        }
        bytes.copy_from_slice(&secret);
        let seed = Seed::new(*bytes);
        if key_id(&seed) != id {
            return Err(invalid("the secret is not that of the key it names").of(path).into());
        }
        Ok(Self { keyparams, seed })
    }

    /// Whether reading a file takes a passphrase.
    ///
    /// # Errors
    /// If it is no secret key, or damaged.
    pub fn is_protected(path: &Path) -> Result<bool, FileError> {
        let header = SectionReader::open(path, Kind::SecretKey)?.section(HEADER)?;
        let (_, _, protection) = parse_header(&header).map_err(|p| p.of(path))?;
        Ok(protection.is_some())
    }
}

impl Protection {
    fn new(randomness: &Seed) -> Self {
        let (mut salt, mut nonce) = ([0; 16], [0; 24]);
        salt.copy_from_slice(&randomness.derive("passphrase salt", &[]).as_bytes()[..16]);
        nonce.copy_from_slice(&randomness.derive("passphrase nonce", &[]).as_bytes()[..24]);
        Self { salt, cost: COST, nonce }
    }

    /// `None` if the costs are outside what Argon2 can do.
    fn cipher(&self, passphrase: &str) -> Option<XChaCha20Poly1305> {
        let [memory, passes, lanes] = self.cost;
        let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, &mut *key)
            .ok()?;
        XChaCha20Poly1305::new_from_slice(&*key).ok()
    }
}

fn header(plan: &PlanId, id: &KeyId, protection: Option<&Protection>) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes(plan);
    w.bytes(id);
    w.u8(u8::from(protection.is_some()));
    if let Some(p) = protection {
        w.bytes(&p.salt);
        p.cost.iter().for_each(|&c| w.u32(c));
        w.bytes(&p.nonce);
    }
    w.0
}

fn parse_header(section: &[u8]) -> Result<(PlanId, KeyId, Option<Protection>), Problem> {
    let mut r = Reader::new(section);
    let (plan, id) = (r.array()?, r.array()?);
    let protection = match r.u8()? {
        0 => None,
        1 => {
            let salt = r.array()?;
            let cost = [r.u32()?, r.u32()?, r.u32()?];
            if cost.iter().zip(MOST_COST).any(|(&c, most)| c > most) {
                return Err(invalid("it asks for too much work on its passphrase"));
            }
            Some(Protection { salt, cost, nonce: r.array()? })
        }
        other => return Err(invalid(format!("protection number {other} is unknown"))),
    };
    r.end()?;
    Ok((plan, id, protection))
}

fn associated(header: &[u8], keyparams: &[u8]) -> Vec<u8> {
    let mut out = header.to_vec();
    out.extend(blake3::hash(keyparams).as_bytes());
    out
}

//! The CKKS scheme (Cheon, Kim, Kim, Song: ePrint 2016/421) in residue number systems, and the backend that runs plans on it.
//!
//! Two parties use it. The *client* makes keys, encrypts and decrypts: [`client`] and [`keys::secret`].
//! The *server* computes on ciphertexts with evaluation keys: [`server`] and [`evaluator`].
//! Nothing on the server's side can name the secret key's type.
//!
//! | module | what it is |
//! |---|---|
//! | [`context`] | a parameter set with its tables |
//! | [`encoder`] | slot vectors to polynomials and back |
//! | [`ciphertext`] | ciphertexts, and fresh ones with a seed |
//! | [`keys`] | secret key, evaluation keys, where they are kept |
//! | [`evaluator`] | every operation of a plan |
//! | [`backend`] | plans on ciphertexts |
//! | [`files`] | `.key`, `.key.pub` and `.enc` |
//! | [`measure`] | how long all of it takes on this machine |
#![forbid(unsafe_code)]

pub mod backend;
pub mod ciphertext;
pub mod client;
mod compact;
pub mod context;
pub mod encoder;
pub mod error;
pub mod evaluator;
pub mod files;
pub mod keys;
pub mod measure;
pub mod randomness;
pub mod server;

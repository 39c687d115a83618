//! Keys: the client's secret, and the evaluation keys that the server works with.
//!
//! Only [`secret`] sees secrets; nothing in [`switching`] or [`store`] can name the secret type, and neither can the
//! evaluator, which takes its keys from a [`store::EvaluationKeys`].

pub mod secret;
pub mod store;
pub mod switching;

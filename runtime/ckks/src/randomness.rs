//! Randomness: one seed of the operating system per command, everything else derived from it.

use heplan_lattice::Seed;
use zeroize::Zeroizing;

/// A seed from the operating system.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn os_seed() -> Result<Seed, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(Seed::new(*bytes))
}

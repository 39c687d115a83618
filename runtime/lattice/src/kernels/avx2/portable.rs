//! Portable loops, compiled for these registers.

use super::super::scalar;
use crate::modulus::Modulus;

/// Declares functions that call those of `scalar` of that name.
macro_rules! portable {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        $(#[$doc])*
        #[target_feature(enable = "avx2,fma")]
        pub(in super::super) fn $name($($arg: $type),*) $(-> $result)? {
            scalar::$name($($arg),*)
        }
    )*};
}

portable! {
    fn lift(q: Modulus, out: &mut [u64], src: &[i64]);
    fn lift_short(q: Modulus, out: &mut [u64], src: &[i32]);
    fn gaussian(words: &mut [u64]);

    /// One by one: the registers have no way to close ranks.
    fn accept(q: Modulus, out: &mut [u64], packed: &[u64], width: u32) -> usize;

    /// Never called for speed: keys are kept as residues here ([`Isa::takes_narrow`](super::super::Isa::takes_narrow)).
    fn pack_narrow(out: &mut [u64], a: &[u64], width: u32);

    /// As [`pack_narrow`].
    fn narrow_products(
        q: Modulus,
        outs: [&mut [u64]; 2],
        triples: &[(&[u64], [&[u64]; 2])],
        fresh: bool
    );
}

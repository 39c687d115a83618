//! Typed dense ids: every thing that the text form can name is a `u32` newtype, never a reference.
//!
//! Ids are indices into the `Vec` of their owner, so a graph can be cloned, printed and compared
//! without pointers, and an id of one kind cannot be used for another.

use std::fmt;

/// Declares an id: a `u32` newtype that prints with its prefix (`%3`, `r0`).
macro_rules! entity_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The id of the element at `index` of its owner.
            ///
            /// # Panics
            /// If `index` exceeds `u32::MAX`, which no graph that fits in memory reaches.
            pub fn new(index: usize) -> Self {
                Self(u32::try_from(index).expect("fewer than 2^32 entities"))
            }

            /// The position in the owner.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

entity_id!(
    /// A value of the `tensor`, `slots` or `ckks` level.
    ValueId, "%"
);
entity_id!(
    /// A register of the `plan` level: a slot of the executor's table of live ciphertexts.
    RegId, "r"
);
entity_id!(
    /// A constant of a [`ConstPool`](crate::constants::ConstPool).
    ConstId, "const"
);
entity_id!(
    /// Where a value comes from: an entry of an [`OriginTable`](crate::origin::OriginTable).
    OriginId, "@"
);

//! Which instruction set the kernels use. An [`Isa`] is the proof that the processor has it.

use std::fmt;
use std::sync::LazyLock;

/// An instruction set that this processor has. Cannot be made for one that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Kind);

/// The instruction sets that kernels are written for, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, DQ, IFMA and VBMI, and all of [`Kind::Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx512Ifma,
    /// The kernels of [`Kind::Avx512Ifma`] on a model of its registers, for tests on processors that lack them.
    #[cfg(all(test, target_arch = "x86_64"))]
    Modelled,
}

impl Isa {
    /// Portable code; every processor has it.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// The fastest set that this processor has, or the one that the environment variable `HEPLAN_ISA` names
    /// (`scalar`, `avx2`, `avx512ifma`) if the processor has that one. Looked up once per process.
    ///
    /// A name that is unknown, or that the processor lacks, is ignored: results are the same on every set.
    /// A program that would rather refuse it asks [`Self::named`] first.
    pub fn detect() -> Self {
        static DETECTED: LazyLock<Isa> = LazyLock::new(|| {
            let asked = std::env::var(Isa::VARIABLE).ok();
            let fastest = || Isa::available().pop().unwrap_or(Isa::SCALAR);
            asked.and_then(|name| Isa::named(&name)).unwrap_or_else(fastest)
        });
        *DETECTED
    }

    /// The environment variable that [`Self::detect`] reads.
    pub const VARIABLE: &str = "HEPLAN_ISA";

    /// The set of that name, if there is one and this processor has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|isa| isa.name() == name)
    }

    /// Every set that this processor has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self::SCALAR];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            sets.push(Self(Kind::Avx2));
        }
        #[cfg(target_arch = "x86_64")]
        if sets.len() == 2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512vbmi")
        {
            sets.push(Self(Kind::Avx512Ifma));
        }
        sets
    }

    /// Whether keys are best kept as narrow as their primes: where they are unpacked in less time than they are fetched.
    pub(crate) const fn takes_narrow(self) -> bool {
        match self.0 {
            Kind::Scalar => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma => true,
            #[cfg(all(test, target_arch = "x86_64"))]
            Kind::Modelled => true,
        }
    }

    /// The name that `HEPLAN_ISA` understands.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma => "avx512ifma",
            #[cfg(all(test, target_arch = "x86_64"))]
            Kind::Modelled => "avx512ifma on a model",
        }
    }

    /// What the tests of the kernels compare: [`Self::available`] and the models.
    #[cfg(test)]
    pub(super) fn with_models() -> Vec<Self> {
        let mut sets = Self::available();
        #[cfg(target_arch = "x86_64")]
        sets.push(Self(Kind::Modelled));
        sets
    }

    pub(super) const fn kind(self) -> Kind {
        self.0
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_what_is_available() {
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Some(isa));
            assert!(Isa::detect() >= isa || std::env::var(Isa::VARIABLE).is_ok());
        }
        assert_eq!(Isa::named("mmx"), None);
    }
}

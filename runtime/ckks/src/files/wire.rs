//! Numbers and texts in sections: writing them, and reading them without trust.

use heplan_ir::bootstrap::Bootstrap;
use heplan_ir::container::Problem;
use heplan_ir::scale::Scale;
use heplan_ir::slots::Compact;

/// How seeds are expanded ([`heplan_lattice::sampling`]). Files whose seeds mean something else are refused.
pub(super) const STREAMS: u16 = 0x5302;

/// A section under construction.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, x: u8) {
        self.0.push(x);
    }

    pub(super) fn u16(&mut self, x: u16) {
        self.0.extend(x.to_le_bytes());
    }

    pub(super) fn u32(&mut self, x: u32) {
        self.0.extend(x.to_le_bytes());
    }

    pub(super) fn u64(&mut self, x: u64) {
        self.0.extend(x.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, x: &[u8]) {
        self.0.extend(x);
    }

    /// A number of things of which there are fewer than 2^32.
    pub(super) fn count(&mut self, x: usize) {
        self.u32(u32::try_from(x).expect("fewer than 2^32 things"));
    }

    /// Samples per ciphertext, at the end of a section: nothing where it is one.
    pub(super) fn batch(&mut self, batch: usize) {
        if batch > 1 {
            self.count(batch);
        }
    }

    /// What the parameters have beside primes and digits, at the end of a section: as [`Self::batch`], or, for a
    /// bootstrapping, one sample and its numbers.
    pub(super) fn tail(&mut self, batch: usize, bootstrap: Option<&Bootstrap>) {
        let Some(b) = bootstrap else { return self.batch(batch) };
        let numbers = [1].into_iter().chain(b.numbers());
        numbers.for_each(|n| self.count(n));
    }

    pub(super) fn text(&mut self, x: &str) {
        self.count(x.len());
        self.bytes(x.as_bytes());
    }

    pub(super) fn primes(&mut self, primes: &[u64]) {
        self.count(primes.len());
        primes.iter().for_each(|&q| self.u64(q));
    }

    pub(super) fn scale(&mut self, scale: &Scale) {
        let (exponent, powers) = scale.parts();
        self.bytes(&exponent.to_le_bytes());
        self.count(powers.len());
        for &(prime, power) in powers {
            self.u64(prime);
            self.bytes(&power.to_le_bytes());
        }
    }
}

/// A section being read; every step fails rather than read past the end.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(section: &'a [u8]) -> Self {
        Self(section)
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) =
            self.0.split_at_checked(n).ok_or_else(|| invalid("a section ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Problem> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Problem> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// That seeds are expanded as this build does.
    pub(super) fn streams(&mut self) -> Result<(), Problem> {
        match self.u16()? {
            STREAMS => Ok(()),
            _ => Err(invalid("its seeds are of another version; make it again")),
        }
    }

    /// A number of things, at most `limit`.
    pub(super) fn count(&mut self, what: &str, limit: usize) -> Result<usize, Problem> {
        let n = self.u32()? as usize;
        if n <= limit {
            Ok(n)
        } else {
            Err(invalid(format!("{n} {what}, at most {limit} are possible")))
        }
    }

    pub(super) fn text(&mut self, what: &str, limit: usize) -> Result<String, Problem> {
        let n = self.count(&format!("bytes of {what}"), limit)?;
        let text = std::str::from_utf8(self.bytes(n)?);
        text.map(str::to_owned).map_err(|_| invalid(format!("{what} is no UTF-8 text")))
    }

    pub(super) fn primes(&mut self) -> Result<Vec<u64>, Problem> {
        let n = self.count("primes", 255)?;
        (0..n).map(|_| self.u64()).collect()
    }

    /// A scale whose primes are all of the chain.
    pub(super) fn scale(&mut self, chain: &[u64]) -> Result<Scale, Problem> {
        const LARGEST: u32 = 1 << 12;
        let exponent = i32::from_le_bytes(self.array()?);
        let n = self.count("primes of a scale", chain.len())?;
        let mut powers: Vec<(u64, i32)> = Vec::with_capacity(n);
        for _ in 0..n {
            let power = (self.u64()?, i32::from_le_bytes(self.array()?));
            let sorted = powers.last().is_none_or(|last| last.0 < power.0);
            if !sorted
                || !chain.contains(&power.0)
                || power.1 == 0
                || power.1.unsigned_abs() > LARGEST
            {
                return Err(invalid("a scale that no plan has"));
            }
            powers.push(power);
        }
        if exponent.unsigned_abs() > LARGEST {
            return Err(invalid("a scale that no plan has"));
        }
        Ok(Scale::from_parts(exponent, powers))
    }

    /// What is left out of fresh ciphertexts.
    pub(super) fn compact(&mut self) -> Result<Compact, Problem> {
        let rotations = self.u32()?;
        match self.u8()? {
            conjugate @ (0 | 1) if rotations < u32::BITS => {
                Ok(Compact { rotations, conjugate: conjugate == 1 })
            }
            _ => Err(invalid("what is left out of its ciphertexts is none of ours")),
        }
    }

    /// Samples per ciphertext, at the end of a section; one where it says nothing.
    pub(super) fn batch(&mut self) -> Result<usize, Problem> {
        if self.0.is_empty() {
            return Ok(1);
        }
        match self.u32()? as usize {
            n if n > 1 && n.is_power_of_two() => Ok(n),
            n => Err(invalid(format!("{n} samples in a ciphertext"))),
        }
    }

    /// What [`Writer::tail`] wrote.
    pub(super) fn tail(&mut self) -> Result<(usize, Option<Bootstrap>), Problem> {
        if self.0.first_chunk() != Some(&1u32.to_le_bytes()) {
            return Ok((self.batch()?, None));
        }
        self.u32()?;
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = self.u32()? as usize;
        }
        Ok((1, Some(Bootstrap::from_numbers(numbers))))
    }

    /// What is left, all of it.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn end(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(invalid("a section is too long")) }
    }
}

pub(super) fn invalid(text: impl Into<String>) -> Problem {
    Problem::Invalid(text.into())
}

//! What a base conversion starts from, gathered limb by limb by the tasks that make it.

use std::sync::{Mutex, OnceLock};

use crate::basis::Prime;
use crate::convert::BasisConverter;
use crate::kernels::Ending;
use crate::pool::Buffer;
use crate::ring::Ring;
use crate::tasks::NO_PANIC;

/// The scaled residues of a polynomial modulo the source primes of a conversion, as they come to be.
pub(crate) struct Scaled {
    limbs: Vec<Mutex<Option<Buffer>>>,
    /// All of them, when the first carries the overflow.
    all: OnceLock<Vec<Buffer>>,
}

impl Scaled {
    /// Of that many source primes, none of which is there.
    pub(crate) fn new(count: usize) -> Self {
        Self { limbs: (0..count).map(|_| Mutex::new(None)).collect(), all: OnceLock::new() }
    }

    /// Takes what a polynomial is modulo source prime number `i`, in evaluation form.
    pub(crate) fn put(&self, ring: &Ring, converter: &BasisConverter, i: usize, mut limb: Buffer) {
        let table = ring.table(converter.from().prime(i));
        table.inverse_scaled(limb.as_mut_slice(), converter.scaling(i));
        self.keep(i, limb);
    }

    /// The same of a limb that stays where it is.
    pub(crate) fn put_from(
        &self,
        ring: &Ring,
        converter: &BasisConverter,
        i: usize,
        limb: &[u64],
        secret: bool,
    ) {
        let mut out = ring.pool().take(ring.degree());
        out.mark_secret_if(secret);
        let table = ring.table(converter.from().prime(i));
        table.inverse_from(out.as_mut_slice(), limb, converter.scaling(i));
        self.keep(i, out);
    }

    fn keep(&self, i: usize, limb: Buffer) {
        *self.limbs[i].lock().expect(NO_PANIC) = Some(limb);
    }

    /// Ends the gathering, once, when all limbs are there.
    pub(crate) fn finish(&self, ring: &Ring, converter: &BasisConverter) {
        let take = |limb: &Mutex<Option<Buffer>>| limb.lock().expect(NO_PANIC).take();
        let limbs: Option<Vec<Buffer>> = self.limbs.iter().map(take).collect();
        let mut limbs = limbs.expect("all limbs are there");
        let (first, others) = limbs.split_first_mut().expect("a conversion has a source");
        let others = others.iter().map(Buffer::as_slice);
        converter.overflow(ring, first.as_mut_slice(), others);
        assert!(self.all.set(limbs).is_ok(), "a gathering ends once");
    }

    /// Whether the gathering has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.all.get().is_some()
    }

    /// Writes a target limb in evaluation form, or what the ending makes of it, when the gathering has ended.
    pub(crate) fn transform(
        &self,
        ring: &Ring,
        converter: &BasisConverter,
        target: Prime,
        out: &mut [u64],
        ending: Ending<'_>,
    ) {
        let limbs = self.all.get().expect("what is waited for has ended");
        let limbs: Vec<&[u64]> = limbs.iter().map(Buffer::as_slice).collect();
        converter.transform_limb(ring, &limbs, target, out, ending);
    }
}

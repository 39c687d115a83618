//! Buffers of residues: aligned to a cache line, taken from a bounded pool, wiped when they held a secret.
//!
//! A plan allocates and frees the same few sizes millions of times.
//! Fresh pages from the operating system cost more than the arithmetic on them, so freed buffers wait here for the next taker.
//! The pool never hands out a buffer that is still in use and never keeps more bytes than its limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

/// Alignment of every limb in bytes: one cache line, and one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// Words by which an allocation exceeds what is asked for, so that an aligned part fits.
const SLACK: usize = ALIGNMENT / size_of::<u64>();

/// A run of `u64` words that starts at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
struct Aligned {
    words: Vec<u64>,
    offset: usize,
    len: usize,
}

impl Aligned {
    fn zeroed(len: usize) -> Self {
        let words = vec![0u64; len + SLACK];
        // The heap block does not move while the vector is neither grown nor cloned, and it is never either.
        let offset = words.as_ptr().align_offset(ALIGNMENT).min(SLACK);
        Self { words, offset, len }
    }

    fn as_slice(&self) -> &[u64] {
        &self.words[self.offset..self.offset + self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [u64] {
        &mut self.words[self.offset..self.offset + self.len]
    }
}

/// Freed buffers by length in words, with the sum of their bytes.
#[derive(Debug, Default)]
struct Free {
    by_len: BTreeMap<usize, Vec<Aligned>>,
    bytes: usize,
}

/// A pool of freed buffers, shared by the polynomials of one ring.
#[derive(Debug)]
pub struct Pool {
    free: Mutex<Free>,
    limit_bytes: usize,
}

impl Pool {
    /// A pool that keeps at most `limit_bytes` of freed buffers.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), limit_bytes })
    }

    /// Bytes that wait in the pool at this moment.
    pub fn free_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Gives every freed buffer back to the allocator.
    pub fn clear(&self) {
        let mut free = self.lock();
        free.by_len.clear();
        free.bytes = 0;
    }

    /// A buffer of `len` words with unspecified contents (residues of earlier, never secret, polynomials).
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let reused = {
            let mut free = self.lock();
            let found = free.by_len.get_mut(&len).and_then(Vec::pop);
            if found.is_some() {
                free.bytes -= len * size_of::<u64>();
            }
            found
        };
        let aligned = reused.unwrap_or_else(|| Aligned::zeroed(len));
        Buffer { aligned: Some(aligned), pool: Arc::clone(self), secret: false }
    }

    fn give(&self, aligned: Aligned) {
        let bytes = aligned.len * size_of::<u64>();
        let mut free = self.lock();
        if free.bytes + bytes <= self.limit_bytes {
            free.bytes += bytes;
            free.by_len.entry(aligned.len).or_default().push(aligned);
        }
    }

    /// A poisoned lock is still sound: every update leaves the books balanced before anything can panic.
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer on loan from a [`Pool`]; goes back when dropped, wiped first if it was marked secret.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Present until `drop`.
    aligned: Option<Aligned>,
    pool: Arc<Pool>,
    secret: bool,
}

impl Buffer {
    pub(crate) fn as_slice(&self) -> &[u64] {
        self.aligned.as_ref().map_or(&[], Aligned::as_slice)
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u64] {
        self.aligned.as_mut().map_or(&mut [], Aligned::as_mut_slice)
    }

    /// From now on the contents are wiped before the buffer can be reused.
    pub(crate) const fn mark_secret(&mut self) {
        self.secret = true;
    }

    /// As [`Self::mark_secret`] if what it is computed from is secret.
    pub(crate) const fn mark_secret_if(&mut self, secret: bool) {
        self.secret |= secret;
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.secret
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(mut aligned) = self.aligned.take() {
            if self.secret {
                aligned.as_mut_slice().zeroize();
            }
            self.pool.give(aligned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused_within_the_limit() {
        let pool = Pool::new(3 * 1024 * 8);
        for len in [1024, 2048, 1024 * 7] {
            assert_eq!(pool.take(len).as_slice().as_ptr() as usize % ALIGNMENT, 0);
        }
        // 1024 + 2048 words fill the limit; 7168 words never fit.
        assert_eq!(pool.free_bytes(), 3 * 1024 * 8);
        let first = pool.take(1024);
        assert_eq!(pool.free_bytes(), 2 * 1024 * 8);
        drop(first);
        pool.clear();
        assert_eq!(pool.free_bytes(), 0);
    }

    #[test]
    fn secrets_are_wiped_before_reuse() {
        let pool = Pool::new(1 << 20);
        let mut secret = pool.take(1024);
        secret.as_mut_slice().fill(7);
        secret.mark_secret();
        drop(secret);
        let again = pool.take(1024);
        assert!(again.as_slice().iter().all(|&x| x == 0));
        assert!(!again.is_secret());
    }
}

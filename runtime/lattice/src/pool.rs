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

/// Freed buffers by length in words, with the sum of their bytes and its limit.
#[derive(Debug)]
struct Free {
    by_len: BTreeMap<usize, Vec<Aligned>>,
    bytes: usize,
    limit_bytes: usize,
}

impl Free {
    /// A buffer of `len` words or up to half as many more: levels differ by a limb, and their buffers serve each other.
    fn pop(&mut self, len: usize) -> Option<Aligned> {
        let (&found, buffers) = self.by_len.range_mut(len..=len + len / 2).next()?;
        let aligned = buffers.pop();
        if buffers.is_empty() {
            self.by_len.remove(&found);
        }
        self.bytes -= found * size_of::<u64>();
        aligned
    }

    fn push(&mut self, aligned: Aligned) {
        let bytes = aligned.len * size_of::<u64>();
        if self.bytes + bytes <= self.limit_bytes {
            self.bytes += bytes;
            self.by_len.entry(aligned.len).or_default().push(aligned);
        }
    }
}

/// A pool of freed buffers, shared by the polynomials of one ring.
#[derive(Debug)]
pub struct Pool {
    free: Mutex<Free>,
}

impl Pool {
    /// A pool that keeps at most `limit_bytes` of freed buffers.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let free = Free { by_len: BTreeMap::new(), bytes: 0, limit_bytes };
        Arc::new(Self { free: Mutex::new(free) })
    }

    /// From now on keeps at most `limit_bytes` of freed buffers; gives all back if there are more already.
    pub fn set_limit(&self, limit_bytes: usize) {
        let mut free = self.lock();
        free.limit_bytes = limit_bytes;
        if free.bytes > limit_bytes {
            free.by_len.clear();
            free.bytes = 0;
        }
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
        let reused = self.lock().pop(len);
        let aligned = reused.unwrap_or_else(|| Aligned::zeroed(len));
        Buffer { aligned: Some(aligned), len, pool: Arc::clone(self), secret: false, pooled: true }
    }

    fn give(&self, aligned: Aligned) {
        self.lock().push(aligned);
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
    /// Words in use, from the first; the rest was never written by this borrower.
    len: usize,
    pool: Arc<Pool>,
    secret: bool,
    /// Whether it goes back to the pool, or to the allocator.
    pooled: bool,
}

impl Buffer {
    pub(crate) fn as_slice(&self) -> &[u64] {
        self.aligned.as_ref().map_or(&[], |aligned| &aligned.as_slice()[..self.len])
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u64] {
        let len = self.len;
        self.aligned.as_mut().map_or(&mut [], |aligned| &mut aligned.as_mut_slice()[..len])
    }

    /// From now on it goes back to the allocator: what needs its like comes seldom.
    pub(crate) const fn unpool(&mut self) {
        self.pooled = false;
    }

    /// From now on the contents are wiped before the buffer can be reused.
    pub(crate) const fn mark_secret(&mut self) {
        self.secret = true;
    }

    /// The contents are no secret any more: those that were are wiped or overwritten.
    pub(crate) const fn publish(&mut self) {
        self.secret = false;
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
            if self.pooled {
                self.pool.give(aligned);
            }
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
        // A buffer serves for up to a third less, and comes back whole.
        let smaller = pool.take(1536);
        assert_eq!(smaller.as_slice().len(), 1536);
        assert_eq!(pool.free_bytes(), 1024 * 8);
        drop(smaller);
        assert_eq!(pool.free_bytes(), 3 * 1024 * 8);
        pool.set_limit(1024);
        assert_eq!(pool.free_bytes(), 0);
        drop(pool.take(1024));
        let mut seldom = pool.take(64);
        seldom.unpool();
        drop(seldom);
        assert_eq!(pool.free_bytes(), 0);
        drop(pool.take(64));
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

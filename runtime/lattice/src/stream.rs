//! Streams of random words from seeds: ChaCha, and of each as much at a time as the registers of the processor make.
//!
//! A generator of single words makes four blocks at a time, and a key is millions of words.
//! Sixteen blocks at a time, on AVX-512, are there if the crate of the cipher is compiled for it; `.cargo/config.toml` says so.
//! The words are the same however many come at a time.

use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha8, ChaCha20};

use crate::sampling::Seed;

/// A stream of 64-bit words, the lowest byte of each first.
pub(crate) struct Stream<C>(C);

impl Stream<ChaCha20> {
    /// For what must stay secret: 20 rounds. Streams of different numbers are independent. Wiped on drop.
    pub(crate) fn secret(seed: &Seed, number: u32) -> Self {
        let mut nonce = [0; 12];
        nonce[4..8].copy_from_slice(&number.to_le_bytes());
        Self(ChaCha20::new(seed.as_bytes().into(), &nonce.into()))
    }
}

impl Stream<ChaCha8> {
    /// For what all may see: 8 rounds.
    pub(crate) fn public(seed: &Seed) -> Self {
        Self(ChaCha8::new(seed.as_bytes().into(), &[0; 12].into()))
    }
}

impl<C: StreamCipher> Stream<C> {
    /// The next bytes of the stream, in words that are zero before: a last word that is not full has zeros above.
    pub(crate) fn fill(&mut self, words: &mut [u64], bytes: usize) {
        debug_assert!(
            words.iter().all(|&word| word == 0),
            "a cipher adds its stream to what is there"
        );
        self.0.apply_keystream(&mut bytemuck::cast_slice_mut(words)[..bytes]);
        words.iter_mut().for_each(|word| *word = u64::from_le(*word));
    }
}

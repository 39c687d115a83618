//! Ciphertexts: as `heplan run` and `heplan decrypt` read them.
#![no_main]

#[allow(dead_code, reason = "every target uses another reader")]
#[path = "../../common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::ciphertext(bytes);
    if let Some(bytes) = readers::resealed(bytes) {
        readers::ciphertext(&bytes);
    }
});

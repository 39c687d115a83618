//! Key parameters: as `heplan keygen`, and `encrypt` and `decrypt` within a key, use them.
#![no_main]

#[allow(dead_code, reason = "every target uses another reader")]
#[path = "../../common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::keyparams(bytes);
    if let Some(bytes) = readers::resealed(bytes) {
        readers::keyparams(&bytes);
    }
});

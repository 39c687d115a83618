//! Secret keys and evaluation keys: as every command of either party reads them.
#![no_main]

#[allow(dead_code, reason = "every target uses another reader")]
#[path = "../../common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::keys(bytes);
    if let Some(bytes) = readers::resealed(bytes) {
        readers::keys(&bytes);
    }
});

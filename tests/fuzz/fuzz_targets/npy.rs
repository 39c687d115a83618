//! Arrays: `.npy`, `.npz` and `.zip` of inputs and calibration sets.
#![no_main]

#[allow(dead_code, reason = "every target uses another reader")]
#[path = "../../common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::npy(bytes);
});

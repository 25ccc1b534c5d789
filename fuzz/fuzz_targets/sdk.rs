#![no_main]

use millstream_fuzz::{sdk, within};

libfuzzer_sys::fuzz_target!(|data: &[u8]| within(&sdk::TARGET, data));

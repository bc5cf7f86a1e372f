//! Any bytes as what comes on a content connection: an error or messages, each of which survives being written and read
//! again; the bytes of contents between them are skipped.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::wire::content::frame::{MAX_BULK_BYTES, MAX_FRAME_BYTES, encode, read};

/// Bytes of a frame that aren't its payload.
const LENGTH_BYTES: usize = 4;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    loop {
        match read(rest) {
            Ok(Some((message, taken))) => {
                let follow = message.follow_bytes();
                assert!(
                    follow <= MAX_BULK_BYTES && (LENGTH_BYTES + 1..=LENGTH_BYTES + MAX_FRAME_BYTES).contains(&taken)
                );
                let again = encode(&message).expect("what was read can be written");
                assert_eq!(read(&again), Ok(Some((message, again.len()))));
                rest = rest.get(taken + follow as usize..).unwrap_or_default();
            }
            Ok(None) => return,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
});

//! Any bytes, cut anywhere, through the decoder: an error or messages, each of which survives being written and read
//! again. The first byte says how long the pieces are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::wire::frame::{Decoder, MAX_FRAME_BYTES, decode, encode};

/// Bytes of a frame that aren't its payload.
const LENGTH_BYTES: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(usize::from(*cut) + 1) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    let frame = encode(&message).expect("what was read can be written");
                    assert!(frame.len() <= LENGTH_BYTES + MAX_FRAME_BYTES);
                    assert_eq!(decode(&frame[LENGTH_BYTES..]), Ok(message));
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return;
                }
            }
        }
    }
});

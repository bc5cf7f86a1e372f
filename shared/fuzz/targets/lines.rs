//! Any bytes as the original's lines, through the reader: an error or lines, the same ones however the bytes are cut,
//! and each survives being written and read again. The first byte says how long the pieces are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::wire::lines::{Decoder, Line, LineError, LineMessage, MAX_WRITTEN_BYTES, decode, encode};

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (lines, failure) = read(bytes, usize::from(*cut) + 1);
    assert_eq!(read(bytes, bytes.len().max(1)), (lines.clone(), failure));
    for line in lines {
        check(line);
    }
});

/// The lines, and what is wrong with what comes behind them.
fn read(bytes: &[u8], cut: usize) -> (Vec<Line>, Option<String>) {
    let (mut decoder, mut lines) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(cut) {
        decoder.push(piece);
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(error) => return (lines, Some(error.to_string())),
            }
        }
    }
    match decoder.last_line() {
        Ok(last) => (lines.into_iter().chain(last).collect(), None),
        Err(error) => (lines, Some(error.to_string())),
    }
}

fn check(line: Line) {
    match encode(&line) {
        Ok(written) => {
            assert!(written.is_ascii() && written.len() <= MAX_WRITTEN_BYTES);
            let text = written.strip_suffix(b"\n").expect("a line has an end");
            assert_eq!(decode(text).expect("what was written can be read"), line);
        }
        // Nobody writes what nobody understands.
        Err(LineError::Json(_)) if matches!(line.message, LineMessage::NotUnderstood { .. }) => {}
        // More is read than is written.
        Err(LineError::TooLong(_)) => {}
        Err(error) => panic!("{line:?}: {error}"),
    }
}

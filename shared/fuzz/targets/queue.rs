//! Any bytes as the body of a broker's message: an error, or an event that survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::wire::queue::FileEvent;
use shared::wire::update::MAX_NAME_BYTES;

fuzz_target!(|body: &[u8]| {
    let Ok(event) = FileEvent::read(body) else { return };
    let written = serde_json::to_vec(&event).expect("what was read can be written");
    assert_eq!(FileEvent::read(&written).expect("what was written can be read"), event);
    if let Some(update) = event.to_update() {
        assert!(update.name.len() <= MAX_NAME_BYTES);
        assert_eq!(update.file, event.file_id);
    }
});

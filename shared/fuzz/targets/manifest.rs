//! Any bytes as root and pages of a manifest: an error, or a manifest that can be written again and whose chunks lie behind
//! each other. The bytes are asked for by their own hash, as of who lies about a content.
//!
//! The first byte says where the root ends (in steps of 44 bytes), what follows it is a page, for each place of the root.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::content::manifest::Manifest;
use shared::wire::manifest::{MAX_CHUNK_BYTES, PageRef, Root, encode_page};

fuzz_target!(|data: &[u8]| {
    let Some((end, bytes)) = data.split_first() else { return };
    let (root, page) = bytes.split_at((42 + usize::from(*end) * 44).min(bytes.len()));
    let _any = root_of(page);
    let Some(mut root) = root_of(root) else { return };
    // What the fuzzer can't guess is the hash of the page.
    for says in &mut root.pages {
        says.hash = *blake3::hash(page).as_bytes();
        if let Ok(chunks) = says.verify(page) {
            assert_eq!(encode_page(&chunks).expect("what was read can be written"), (page.to_vec(), *says));
        }
    }
    let bytes = root.encode().expect("it was read");
    let mut manifest = Manifest::open(Root::name(&bytes), &bytes).expect("it was written");
    let taken = (0..manifest.pages()).filter(|number| manifest.take_page(*number, page).is_ok()).count();
    assert_eq!(manifest.is_whole(), taken == root.pages.len());
    walk(&manifest, &root.pages);
});

fn root_of(bytes: &[u8]) -> Option<Root> {
    let root = Root::verify(Root::name(bytes), bytes).ok()?;
    assert_eq!(root.encode().expect("what was read can be written"), bytes);
    Some(root)
}

fn walk(manifest: &Manifest, pages: &[PageRef]) {
    let mut offset = 0;
    for number in 0..manifest.chunks() {
        let Some(place) = manifest.chunk(number) else { return };
        assert!(place.offset == offset && (1..=MAX_CHUNK_BYTES).contains(&place.len_bytes));
        offset += u64::from(place.len_bytes);
    }
    assert_eq!(offset, manifest.size_bytes());
    assert_eq!(offset, pages.iter().map(|page| page.size_bytes).sum::<u64>());
}

//! Contents of which only the manifest exists.

use shared::content::builder::ManifestBuilder;
use shared::content::manifest::Manifest;
use shared::ids::{ChunkHash, ContentHash, ManifestHash};
use shared::rng::Rng;
use shared::wire::manifest::Chunk;

/// A content that exists somewhere.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) name: ManifestHash,
    pub(super) hash: ContentHash,
    pub(super) size_bytes: u64,
    pub(super) chunks: Vec<Chunk>,
    pub(super) root: Vec<u8>,
    pub(super) pages: Vec<Vec<u8>>,
    pub(super) manifest: Manifest,
}

impl Content {
    /// One of these chunks.
    pub(super) fn new(chunks: Vec<Chunk>) -> Self {
        let mut builder = ManifestBuilder::default();
        let mut pages: Vec<_> = chunks.iter().filter_map(|chunk| builder.push(*chunk).unwrap()).collect();
        let sum: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.hash.0).collect();
        let hash = ContentHash(*blake3::hash(&sum).as_bytes());
        let made = builder.finish(hash).unwrap();
        pages.extend(made.last_page);
        let mut manifest = Manifest::open(made.name, &made.root).unwrap();
        for (number, page) in (0..).zip(&pages) {
            manifest.take_page(number, page).unwrap();
        }
        let size_bytes = manifest.size_bytes();
        Self { name: made.name, hash, size_bytes, chunks, root: made.root, pages, manifest }
    }

    /// One of so many chunks, of the usual lengths, that no other seed has.
    pub(super) fn random(seed: u64, count: u32) -> Self {
        Self::new(random_chunks(seed, count))
    }

    /// How many chunks it has.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap()
    }
}

/// Chunks of the usual lengths.
pub(super) fn random_chunks(seed: u64, count: u32) -> Vec<Chunk> {
    let mut rng = Rng::from_seed(seed);
    let chunk = |number: u32| {
        let name = [seed.to_be_bytes(), u64::from(number).to_be_bytes()].concat();
        let len_bytes = u32::try_from(16_384 + rng.below(98_304)).unwrap();
        Chunk { hash: ChunkHash(*blake3::hash(&name).as_bytes()), len_bytes }
    };
    (0..count).map(chunk).collect()
}

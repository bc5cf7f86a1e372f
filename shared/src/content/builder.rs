//! Makes the manifest of a content whose chunks become known one by one. It gives each page out as soon as it is complete,
//! and keeps one page and what the root says of the others.

use crate::ids::{ContentHash, ManifestHash};
use crate::wire::manifest::{Chunk, MAX_PAGE_CHUNKS, ManifestError, PageRef, Root, encode_page};

/// A page has so many chunks at least, but for the last: with the most chunks of a content its pages fit the root.
const MIN_PAGE_CHUNKS: usize = 512;
/// Behind that many it ends at the first chunk whose hash begins with so many zero bits, so that what is inserted into a
/// content changes the pages around it, and not all behind it: as with the chunks themselves. Some 1,000 chunks a page.
const PAGE_END_BITS: u32 = 9;

/// A manifest that is being made.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    /// The chunks of the page that isn't complete.
    chunks: Vec<Chunk>,
    pages: Vec<PageRef>,
    size_bytes: u64,
}

/// A manifest that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub name: ManifestHash,
    /// The bytes of its root.
    pub root: Vec<u8>,
    /// The bytes of its last page; `None` where there is none that hasn't been given out.
    pub last_page: Option<Vec<u8>>,
}

impl ManifestBuilder {
    /// The next chunk. Returns the bytes of the page that it completes.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn push(&mut self, chunk: Chunk) -> Result<Option<Vec<u8>>, ManifestError> {
        self.chunks.push(chunk);
        self.size_bytes += u64::from(chunk.len_bytes);
        let count = self.chunks.len();
        let is_full = count >= MAX_PAGE_CHUNKS || (count >= MIN_PAGE_CHUNKS && may_end_behind(&chunk));
        if is_full { self.end_page().map(Some) } else { Ok(None) }
    }

    /// There are no more chunks, and all their bytes together have this hash.
    ///
    /// # Errors
    /// When there were more than a content may have.
    pub fn finish(mut self, content: ContentHash) -> Result<Made, ManifestError> {
        let last_page = if self.chunks.is_empty() { None } else { Some(self.end_page()?) };
        let root = Root { size_bytes: self.size_bytes, content, pages: self.pages }.encode()?;
        Ok(Made { name: Root::name(&root), root, last_page })
    }

    fn end_page(&mut self) -> Result<Vec<u8>, ManifestError> {
        let (bytes, page) = encode_page(&self.chunks)?;
        self.chunks.clear();
        self.pages.push(page);
        Ok(bytes)
    }
}

fn may_end_behind(chunk: &Chunk) -> bool {
    let [a, b, ..] = chunk.hash.0;
    u16::from_be_bytes([a, b]).leading_zeros() >= PAGE_END_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChunkHash;

    fn chunk(number: u32) -> Chunk {
        Chunk { hash: ChunkHash(*blake3::hash(&number.to_be_bytes()).as_bytes()), len_bytes: 1000 }
    }

    fn build(chunks: impl Iterator<Item = Chunk>) -> (Vec<Vec<u8>>, Made) {
        let mut builder = ManifestBuilder::default();
        let mut pages: Vec<_> = chunks.filter_map(|chunk| builder.push(chunk).unwrap()).collect();
        let made = builder.finish(ContentHash([9; 32])).unwrap();
        pages.extend(made.last_page.clone());
        (pages, made)
    }

    #[test]
    fn all_chunks_are_in_it_in_their_order() {
        let (pages, made) = build((0..5000).map(chunk));
        let root = Root::verify(made.name, &made.root).unwrap();
        assert_eq!((root.size_bytes, root.content), (5_000_000, ContentHash([9; 32])));
        let listed = root.pages.iter().zip(&pages).flat_map(|(page, bytes)| page.verify(bytes).unwrap());
        assert!(listed.eq((0..5000).map(chunk)));
    }

    #[test]
    fn an_insertion_changes_few_pages() {
        let (old, _) = build((0..20_000).map(chunk));
        let (new, _) = build([chunk(99_999)].into_iter().chain((0..20_000).map(chunk)));
        assert!(old.len() > 10);
        let changed = new.iter().filter(|page| !old.contains(page)).count();
        assert!(changed <= 3, "{changed} of {} pages changed", old.len());
    }

    #[test]
    fn a_chunk_that_never_ends_a_page_fills_it() {
        let same = Chunk { hash: ChunkHash([0xff; 32]), len_bytes: 1 };
        let (pages, made) = build(std::iter::repeat_n(same, MAX_PAGE_CHUNKS + 1));
        assert_eq!((pages.len(), Root::verify(made.name, &made.root).unwrap().size_bytes), (2, 1821));
    }

    #[test]
    fn as_many_chunks_as_may_be_fit_and_no_more() {
        let ends = Chunk { hash: ChunkHash([0; 32]), len_bytes: 1 };
        let most = usize::try_from(crate::wire::manifest::MAX_CHUNKS).unwrap();
        let mut builder = ManifestBuilder::default();
        for chunk in std::iter::repeat_n(ends, most) {
            builder.push(chunk).unwrap();
        }
        assert!(builder.finish(ContentHash([9; 32])).is_ok());
        let mut builder = ManifestBuilder::default();
        for chunk in std::iter::repeat_n(ends, most + 1) {
            builder.push(chunk).unwrap();
        }
        assert!(matches!(builder.finish(ContentHash([9; 32])), Err(ManifestError::Chunks { .. })));
    }
}

//! The manifest of a content that is to be fetched: its pages are taken in any order, each verified as it comes.

use crate::ids::{ChunkHash, ContentHash, ManifestHash};
use crate::wire::manifest::{Chunk, ManifestError, PageRef, Root, encode_page};

/// A manifest, or as much of it as is known.
#[derive(Debug)]
pub struct Manifest {
    name: ManifestHash,
    size_bytes: u64,
    content: ContentHash,
    pages: Vec<Page>,
    missing: usize,
}

/// A page, known or not.
#[derive(Debug)]
struct Page {
    says: PageRef,
    /// The number of its first chunk, and where that begins.
    first: u32,
    offset: u64,
    /// Its chunks, each with the place where it ends.
    chunks: Option<Box<[(ChunkHash, u64)]>>,
}

/// One chunk, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The hash of its bytes.
    pub hash: ChunkHash,
    /// Where it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub len_bytes: u32,
}

impl Manifest {
    /// The manifest of this name, whose root has these bytes; no page is known yet.
    ///
    /// # Errors
    /// When the bytes are another root's, or break a limit.
    pub fn open(name: ManifestHash, root: &[u8]) -> Result<Self, ManifestError> {
        Ok(Self::of_root(name, Root::verify(name, root)?))
    }

    /// The manifest of this name, if the content consists of one chunk: then it follows from hash and size of the content,
    /// and nobody needs to be asked.
    pub fn of_one_chunk(name: ManifestHash, content: ContentHash, size_bytes: u64) -> Option<Self> {
        let chunk = Chunk { hash: ChunkHash(content.0), len_bytes: u32::try_from(size_bytes).ok()? };
        let page = if size_bytes == 0 { None } else { Some(encode_page(&[chunk]).ok()?) };
        let (bytes, pages): (Vec<_>, Vec<_>) = page.into_iter().unzip();
        let root = Root { size_bytes, content, pages };
        if Root::name(&root.encode().ok()?) != name {
            return None;
        }
        let mut manifest = Self::of_root(name, root);
        bytes.iter().try_for_each(|bytes| manifest.take_page(0, bytes)).ok()?;
        Some(manifest)
    }

    fn of_root(name: ManifestHash, root: Root) -> Self {
        let (mut first, mut offset) = (0, 0);
        let page = |says: PageRef| {
            let page = Page { says, first, offset, chunks: None };
            first += says.chunks;
            offset += says.size_bytes;
            page
        };
        let pages: Vec<_> = root.pages.into_iter().map(page).collect();
        let missing = pages.len();
        Self { name, size_bytes: root.size_bytes, content: root.content, pages, missing }
    }

    /// Its name.
    pub fn name(&self) -> ManifestHash {
        self.name
    }

    /// The content's size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The BLAKE3 hash of the content's bytes.
    pub fn content(&self) -> ContentHash {
        self.content
    }

    /// How many pages it has.
    pub fn pages(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(u32::MAX)
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> u32 {
        self.pages.last().map_or(0, |page| page.first + page.says.chunks)
    }

    /// Whether all pages are known.
    pub fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// The first page from `from` on that isn't known.
    pub fn missing_page(&self, from: u32) -> Option<u32> {
        (from..self.pages()).find(|number| self.page(*number).is_some_and(|page| page.chunks.is_none()))
    }

    /// Takes a page. One that is known already changes nothing.
    ///
    /// # Errors
    /// When there is no page of this number, or the bytes are another one, or break a limit.
    pub fn take_page(&mut self, number: u32, bytes: &[u8]) -> Result<(), ManifestError> {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let page = self.pages.get_mut(place).ok_or(ManifestError::WrongName("a page"))?;
        let chunks = page.says.verify(bytes)?;
        let mut end = page.offset;
        let ends = chunks.into_iter().map(|chunk| {
            end += u64::from(chunk.len_bytes);
            (chunk.hash, end)
        });
        if page.chunks.replace(ends.collect()).is_none() {
            self.missing -= 1;
        }
        Ok(())
    }

    /// A chunk by its number; `None` where there is none, or its page isn't known.
    pub fn chunk(&self, number: u32) -> Option<Place> {
        let behind = self.pages.partition_point(|page| page.first <= number);
        let page = self.pages.get(behind.checked_sub(1)?)?;
        let within = usize::try_from(number - page.first).ok()?;
        let chunks = page.chunks.as_ref()?;
        let (hash, end) = *chunks.get(within)?;
        let offset = within.checked_sub(1).and_then(|before| chunks.get(before)).map_or(page.offset, |(_, end)| *end);
        Some(Place { hash, offset, len_bytes: u32::try_from(end - offset).ok()? })
    }

    /// The length of a chunk in bytes; 0 where it isn't known.
    pub fn len_bytes(&self, number: u32) -> u32 {
        self.chunk(number).map_or(0, |place| place.len_bytes)
    }

    fn page(&self, number: u32) -> Option<&Page> {
        self.pages.get(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::builder::ManifestBuilder;

    fn chunk(number: u32) -> Chunk {
        Chunk { hash: ChunkHash(*blake3::hash(&number.to_be_bytes()).as_bytes()), len_bytes: 1000 + number }
    }

    /// The name, the root and the pages of a manifest.
    fn build(count: u32) -> (ManifestHash, Vec<u8>, Vec<Vec<u8>>) {
        let mut builder = ManifestBuilder::default();
        let mut pages: Vec<_> = (0..count).filter_map(|number| builder.push(chunk(number)).unwrap()).collect();
        let made = builder.finish(ContentHash([9; 32])).unwrap();
        pages.extend(made.last_page);
        (made.name, made.root, pages)
    }

    #[test]
    fn pages_are_taken_in_any_order_and_each_once() {
        let (name, root, pages) = build(4000);
        let mut manifest = Manifest::open(name, &root).unwrap();
        assert_eq!((manifest.chunks(), manifest.missing_page(0), manifest.chunk(3)), (4000, Some(0), None));
        for (number, bytes) in pages.iter().enumerate().rev() {
            assert!(!manifest.is_whole());
            let number = u32::try_from(number).unwrap();
            manifest.take_page(number, bytes).unwrap();
            manifest.take_page(number, bytes).unwrap();
        }
        assert!(manifest.is_whole() && manifest.missing_page(0).is_none());
        let mut offset = 0;
        for number in 0..4000 {
            let (Chunk { hash, len_bytes }, place) = (chunk(number), manifest.chunk(number));
            assert_eq!(place, Some(Place { hash, offset, len_bytes }));
            offset += u64::from(len_bytes);
        }
        assert_eq!((manifest.size_bytes(), manifest.chunk(4000)), (offset, None));
    }

    #[test]
    fn another_page_is_refused_and_changes_nothing() {
        let (name, root, pages) = build(4000);
        let mut manifest = Manifest::open(name, &root).unwrap();
        for number in [0, 99, u32::MAX] {
            assert_eq!(manifest.take_page(number, &pages[1]), Err(ManifestError::WrongName("a page")));
        }
        assert_eq!(manifest.missing_page(0), Some(0));
    }

    #[test]
    fn the_manifest_of_one_chunk_follows_from_the_content() {
        for bytes in [&b"grapevine"[..], b""] {
            let (content, len) = (ContentHash(*blake3::hash(bytes).as_bytes()), bytes.len());
            let mut builder = ManifestBuilder::default();
            if len > 0 {
                builder.push(Chunk { hash: ChunkHash(content.0), len_bytes: u32::try_from(len).unwrap() }).unwrap();
            }
            let name = builder.finish(content).unwrap().name;
            let size = u64::try_from(len).unwrap();
            let manifest = Manifest::of_one_chunk(name, content, size).unwrap();
            assert!(manifest.is_whole() && manifest.size_bytes() == size);
            assert!(Manifest::of_one_chunk(name, content, size + 1).is_none());
        }
        let (name, ..) = build(2);
        assert!(Manifest::of_one_chunk(name, ContentHash([9; 32]), 2001).is_none());
    }
}

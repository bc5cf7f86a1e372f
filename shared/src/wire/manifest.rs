//! The bytes of a manifest: which chunks a content consists of. It has two levels, never more: the root names size, content
//! and pages, and a page lists the chunks. Everything has a fixed width, numbers are big-endian:
//!
//! ```text
//! root = 1 (format)  1 (level)  size u64  content 32 bytes  and of each page: hash 32 bytes, chunks u32, size u64
//! page = 1 (format)  0 (level)  and of each chunk: hash 32 bytes, length u32
//! ```
//!
//! So how much there is follows from how many bytes came, and nothing is allocated for what doesn't add up. A manifest is
//! named by the BLAKE3 hash of its root, a page by that of its bytes: whoever has the name can check both as they come.
//! How a content is cut, and where pages end, is the affair of [`crate::content`].

use crate::ids::{ChunkHash, ContentHash, ManifestHash};

/// The format that is written, and the only one that is read.
pub const FORMAT: u8 = 1;
/// The largest root or page, in bytes.
pub const MAX_LEVEL_BYTES: usize = 64 << 10;
/// The longest chunk, in bytes: four times the longest average.
pub const MAX_CHUNK_BYTES: u32 = 4 << 20;
/// The most chunks of one content: five times what 64 GiB have on average, and 20 MiB of memory.
pub const MAX_CHUNKS: u32 = 512 << 10;
/// The most pages of a root.
pub const MAX_PAGES: usize = (MAX_LEVEL_BYTES - ROOT_BYTES) / PAGE_BYTES;
/// The most chunks of a page.
pub const MAX_PAGE_CHUNKS: usize = (MAX_LEVEL_BYTES - LEVEL_BYTES) / CHUNK_BYTES;

/// Bytes before a page's chunks.
const LEVEL_BYTES: usize = 2;
/// Bytes before a root's pages.
const ROOT_BYTES: usize = LEVEL_BYTES + 8 + 32;
/// Bytes of a page in the root.
const PAGE_BYTES: usize = 32 + 4 + 8;
/// Bytes of a chunk in a page.
const CHUNK_BYTES: usize = 32 + 4;
/// The byte that a root has as its level.
const ROOT: u8 = 1;
/// The byte that a page has as its level.
const PAGE: u8 = 0;

/// The upper level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The size of the content in bytes.
    pub size_bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub content: ContentHash,
    /// Its pages, in order.
    pub pages: Vec<PageRef>,
}

/// What the root says of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// The BLAKE3 hash of the page.
    pub hash: [u8; 32],
    /// How many chunks it lists.
    pub chunks: u32,
    /// How many bytes these have.
    pub size_bytes: u64,
}

/// A chunk: a part of a content that is verified, stored and told of as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The BLAKE3 hash of its bytes.
    pub hash: ChunkHash,
    /// How many these are.
    pub len_bytes: u32,
}

/// Why bytes are no manifest, or not the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes don't have the hash by which they were asked for.
    #[error("{0} of another name")]
    WrongName(&'static str),
    /// It is longer than it may be.
    #[error("{what} of {len} bytes; at most {MAX_LEVEL_BYTES} are allowed")]
    TooLong {
        /// The root or a page.
        what: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// It ends in the midst of something, or something comes behind its end.
    #[error("{what} of {len} bytes, which isn't what it says it has")]
    Length {
        /// The root or a page.
        what: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// It is written in a format of tomorrow.
    #[error("a manifest of format {0}; {FORMAT} is understood")]
    Format(u8),
    /// It is a page where the root should be, or a root where a page should be: that would be a third level.
    #[error("{what} that says it is of level {level}")]
    Level {
        /// The root or a page.
        what: &'static str,
        /// What it says.
        level: u8,
    },
    /// More chunks than a content may have, or than fit a page, or none.
    #[error("{what} of {chunks} chunks; 1 to {max} are allowed")]
    Chunks {
        /// The root or a page.
        what: &'static str,
        /// So many.
        chunks: u64,
        /// The limit.
        max: u64,
    },
    /// A chunk that is empty, or too long.
    #[error("a chunk of {0} bytes; 1 to {MAX_CHUNK_BYTES} are allowed")]
    ChunkLength(u64),
    /// What a level's parts have together isn't what it says.
    #[error("{what} whose parts have {found} bytes together, and not {said}")]
    Sum {
        /// The root or a page.
        what: &'static str,
        /// What it says.
        said: u64,
        /// What they have.
        found: u64,
    },
}

const A_ROOT: &str = "a root";
const A_PAGE: &str = "a page";

impl Root {
    /// Its bytes.
    ///
    /// # Errors
    /// When it is none that could be read.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let mut bytes = Vec::with_capacity(ROOT_BYTES + self.pages.len() * PAGE_BYTES);
        bytes.extend([FORMAT, ROOT]);
        bytes.extend(self.size_bytes.to_be_bytes());
        bytes.extend(self.content.0);
        for page in &self.pages {
            bytes.extend(page.hash);
            bytes.extend(page.chunks.to_be_bytes());
            bytes.extend(page.size_bytes.to_be_bytes());
        }
        if bytes.len() > MAX_LEVEL_BYTES {
            return Err(ManifestError::TooLong { what: A_ROOT, len: bytes.len() });
        }
        Ok(bytes)
    }

    /// The root that has this name.
    ///
    /// # Errors
    /// When the bytes are another one, or it breaks a limit.
    pub fn verify(name: ManifestHash, bytes: &[u8]) -> Result<Self, ManifestError> {
        let fields = fields(A_ROOT, ROOT, name.0, bytes)?;
        let wrong = || ManifestError::Length { what: A_ROOT, len: bytes.len() };
        let (size, fields) = fields.split_first_chunk().ok_or_else(wrong)?;
        let (content, fields) = fields.split_first_chunk().ok_or_else(wrong)?;
        let (pages, rest) = fields.as_chunks::<PAGE_BYTES>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        let pages = pages.iter().map(PageRef::read).collect::<Option<_>>().ok_or_else(wrong)?;
        let root = Self { size_bytes: u64::from_be_bytes(*size), content: ContentHash(*content), pages };
        root.check()?;
        Ok(root)
    }

    /// The name of a manifest whose root has these bytes.
    pub fn name(bytes: &[u8]) -> ManifestHash {
        ManifestHash(*blake3::hash(bytes).as_bytes())
    }

    fn check(&self) -> Result<(), ManifestError> {
        self.pages.iter().try_for_each(PageRef::check)?;
        let chunks = self.pages.iter().map(|page| u64::from(page.chunks)).sum();
        if chunks > u64::from(MAX_CHUNKS) {
            return Err(ManifestError::Chunks { what: A_ROOT, chunks, max: MAX_CHUNKS.into() });
        }
        // Each of them is bounded by its count of chunks, so no sum overflows.
        check_sum(A_ROOT, self.size_bytes, self.pages.iter().map(|page| page.size_bytes).sum())
    }
}

impl PageRef {
    fn read(bytes: &[u8; PAGE_BYTES]) -> Option<Self> {
        let (hash, numbers) = bytes.split_first_chunk()?;
        let (chunks, size) = numbers.split_first_chunk()?;
        let size_bytes = u64::from_be_bytes(size.try_into().ok()?);
        Some(Self { hash: *hash, chunks: u32::from_be_bytes(*chunks), size_bytes })
    }

    fn check(&self) -> Result<(), ManifestError> {
        let (chunks, max) = (u64::from(self.chunks), MAX_PAGE_CHUNKS as u64);
        if chunks == 0 || chunks > max {
            return Err(ManifestError::Chunks { what: A_PAGE, chunks, max });
        }
        if self.size_bytes < chunks || self.size_bytes > chunks * u64::from(MAX_CHUNK_BYTES) {
            return Err(ManifestError::ChunkLength(self.size_bytes / chunks));
        }
        Ok(())
    }

    /// The chunks of this page.
    ///
    /// # Errors
    /// When the bytes are another page's, or it breaks a limit, or isn't what the root says of it.
    pub fn verify(&self, bytes: &[u8]) -> Result<Vec<Chunk>, ManifestError> {
        let fields = fields(A_PAGE, PAGE, self.hash, bytes)?;
        let (entries, rest) = fields.as_chunks::<CHUNK_BYTES>();
        if !rest.is_empty() || u32::try_from(entries.len()) != Ok(self.chunks) {
            return Err(ManifestError::Length { what: A_PAGE, len: bytes.len() });
        }
        let chunks: Vec<_> = entries.iter().map(Chunk::read).collect();
        chunks.iter().try_for_each(Chunk::check)?;
        check_sum(A_PAGE, self.size_bytes, size(&chunks))?;
        Ok(chunks)
    }
}

impl Chunk {
    fn read(bytes: &[u8; CHUNK_BYTES]) -> Self {
        let [hash @ .., a, b, c, d] = *bytes;
        Self { hash: ChunkHash(hash), len_bytes: u32::from_be_bytes([a, b, c, d]) }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let is_allowed = (1..=MAX_CHUNK_BYTES).contains(&self.len_bytes);
        if is_allowed { Ok(()) } else { Err(ManifestError::ChunkLength(self.len_bytes.into())) }
    }
}

/// A page of these chunks, and what the root says of it.
///
/// # Errors
/// When it is none that could be read.
pub fn encode_page(chunks: &[Chunk]) -> Result<(Vec<u8>, PageRef), ManifestError> {
    chunks.iter().try_for_each(Chunk::check)?;
    let mut bytes = Vec::with_capacity(LEVEL_BYTES + chunks.len() * CHUNK_BYTES);
    bytes.extend([FORMAT, PAGE]);
    for chunk in chunks {
        bytes.extend(chunk.hash.0);
        bytes.extend(chunk.len_bytes.to_be_bytes());
    }
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let page = PageRef { hash: *blake3::hash(&bytes).as_bytes(), chunks: count, size_bytes: size(chunks) };
    page.check()?;
    Ok((bytes, page))
}

fn size(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.len_bytes)).sum()
}

fn check_sum(what: &'static str, said: u64, found: u64) -> Result<(), ManifestError> {
    if said == found { Ok(()) } else { Err(ManifestError::Sum { what, said, found }) }
}

/// What comes behind format and level, of bytes that have this hash.
fn fields<'a>(what: &'static str, level: u8, hash: [u8; 32], bytes: &'a [u8]) -> Result<&'a [u8], ManifestError> {
    if bytes.len() > MAX_LEVEL_BYTES {
        return Err(ManifestError::TooLong { what, len: bytes.len() });
    }
    if *blake3::hash(bytes).as_bytes() != hash {
        return Err(ManifestError::WrongName(what));
    }
    match bytes {
        [FORMAT, found, fields @ ..] if *found == level => Ok(fields),
        [FORMAT, level, ..] => Err(ManifestError::Level { what, level: *level }),
        [format, _, ..] => Err(ManifestError::Format(*format)),
        [] | [_] => Err(ManifestError::Length { what, len: bytes.len() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
        let chunk = (any::<[u8; 32]>(), 1..=MAX_CHUNK_BYTES);
        vec(chunk.prop_map(|(hash, len_bytes)| Chunk { hash: ChunkHash(hash), len_bytes }), 1..40)
    }

    fn root_of(pages: Vec<PageRef>) -> Root {
        let size_bytes = pages.iter().map(|page| page.size_bytes).sum();
        Root { size_bytes, content: ContentHash([7; 32]), pages }
    }

    /// What is said of bytes that are asked for by their own hash.
    fn verdict(bytes: &[u8]) -> ManifestError {
        Root::verify(Root::name(bytes), bytes).unwrap_err()
    }

    fn chunk(len_bytes: u32) -> Chunk {
        Chunk { hash: ChunkHash([1; 32]), len_bytes }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pages in vec(chunks(), 0..6)) {
            let (bytes, refs): (Vec<_>, Vec<_>) = pages.iter().map(|page| encode_page(page).unwrap()).unzip();
            for ((bytes, page), chunks) in bytes.iter().zip(&refs).zip(pages) {
                prop_assert_eq!(page.verify(bytes), Ok(chunks));
            }
            let root = root_of(refs);
            let bytes = root.encode().unwrap();
            prop_assert_eq!(Root::verify(Root::name(&bytes), &bytes), Ok(root));
        }

        #[test]
        fn a_flipped_bit_is_noticed_anywhere(chunks in chunks(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let (mut bytes, page) = encode_page(&chunks).unwrap();
            let flipped = place.index(bytes.len());
            bytes[flipped] ^= 1_u8 << bit;
            prop_assert_eq!(page.verify(&bytes), Err(ManifestError::WrongName("a page")));
            let mut bytes = root_of(vec![page]).encode().unwrap();
            let name = Root::name(&bytes);
            let flipped = place.index(bytes.len());
            bytes[flipped] ^= 1_u8 << bit;
            prop_assert_eq!(Root::verify(name, &bytes), Err(ManifestError::WrongName("a root")));
        }

        #[test]
        fn any_bytes_are_an_error_or_a_root_that_can_be_written(rest in vec(any::<u8>(), 0..200), level in 0_u8..3) {
            let bytes = [vec![FORMAT, level], rest].concat();
            if let Ok(root) = Root::verify(Root::name(&bytes), &bytes) {
                prop_assert_eq!(root.encode(), Ok(bytes));
            }
        }
    }

    #[test]
    fn a_manifest_looks_as_yesterday() {
        let (page, page_ref) = encode_page(&[chunk(65_536), Chunk { hash: ChunkHash([2; 32]), len_bytes: 5 }]).unwrap();
        let root = root_of(vec![page_ref]).encode().unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        insta::assert_snapshot!(format!("page {}\nroot {}\nname {}", hex(&page), hex(&root), Root::name(&root)));
    }

    #[test]
    fn an_empty_content_has_no_pages() {
        let root = root_of(Vec::new());
        let bytes = root.encode().unwrap();
        assert_eq!(Root::verify(Root::name(&bytes), &bytes), Ok(root));
    }

    #[test]
    fn the_largest_root_and_page_are_within_the_limit() {
        let (bytes, page) = encode_page(&vec![chunk(1); MAX_PAGE_CHUNKS]).unwrap();
        assert!(bytes.len() <= MAX_LEVEL_BYTES && page.verify(&bytes).unwrap().len() == MAX_PAGE_CHUNKS);
        let few = PageRef { chunks: 1, size_bytes: 1, ..page };
        let bytes = root_of(vec![few; MAX_PAGES]).encode().unwrap();
        assert!(bytes.len() <= MAX_LEVEL_BYTES && Root::verify(Root::name(&bytes), &bytes).is_ok());
        assert!(matches!(root_of(vec![few; MAX_PAGES + 1]).encode(), Err(ManifestError::TooLong { .. })));
    }

    #[test]
    fn what_breaks_a_limit_is_refused_by_its_name() {
        let (page, page_ref) = encode_page(&[chunk(9)]).unwrap();
        let root = root_of(vec![page_ref]).encode().unwrap();
        assert_eq!(verdict(&page), ManifestError::Level { what: "a root", level: 0 });
        let below = PageRef { hash: *blake3::hash(&root).as_bytes(), ..page_ref };
        assert_eq!(below.verify(&root), Err(ManifestError::Level { what: "a page", level: 1 }), "a third level");
        assert_eq!(verdict(&[&root[..], &[0]].concat()), ManifestError::Length { what: "a root", len: root.len() + 1 });
        assert_eq!(verdict(&[FORMAT]), ManifestError::Length { what: "a root", len: 1 });
        assert_eq!(verdict(&[2, ROOT]), ManifestError::Format(2));
        assert!(matches!(verdict(&vec![FORMAT; MAX_LEVEL_BYTES + 1]), ManifestError::TooLong { .. }));
        let more = PageRef { chunks: 2, size_bytes: 10, ..page_ref };
        assert_eq!(more.verify(&page), Err(ManifestError::Length { what: "a page", len: page.len() }));
        let less = PageRef { size_bytes: 8, ..page_ref };
        assert_eq!(less.verify(&page), Err(ManifestError::Sum { what: "a page", said: 8, found: 9 }));
    }

    #[test]
    fn numbers_that_dont_add_up_are_refused() {
        let page = PageRef { hash: [1; 32], chunks: 2, size_bytes: 9 };
        let said = |root: Root| root.encode().unwrap_err();
        assert_eq!(
            said(Root { size_bytes: 8, ..root_of(vec![page]) }),
            ManifestError::Sum { what: "a root", said: 8, found: 9 }
        );
        for (chunks, size_bytes) in [(2, 1), (2, u64::MAX), (1, u64::from(MAX_CHUNK_BYTES) + 1)] {
            let page = PageRef { chunks, size_bytes, ..page };
            let root = Root { size_bytes, ..root_of(Vec::new()) };
            assert!(matches!(said(Root { pages: vec![page], ..root }), ManifestError::ChunkLength(_)));
        }
        for chunks in [0, u32::MAX] {
            let page = PageRef { chunks, ..page };
            assert!(matches!(said(root_of(vec![page])), ManifestError::Chunks { what: "a page", .. }));
        }
        let full = PageRef { chunks: u32::try_from(MAX_PAGE_CHUNKS).unwrap(), size_bytes: 2000, ..page };
        assert!(matches!(said(root_of(vec![full; 300])), ManifestError::Chunks { what: "a root", .. }));
        for len in [0, MAX_CHUNK_BYTES + 1] {
            assert_eq!(encode_page(&[chunk(len)]), Err(ManifestError::ChunkLength(len.into())));
        }
    }
}

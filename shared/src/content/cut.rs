//! Where a content is cut: `FastCDC` in its version of 2020 (Xia and others, "The Design of Fast Content-Defined Chunking
//! for Data Deduplication Based Storage Systems", IEEE TPDS 31), with the tables and masks of the crate `fastcdc`. What
//! is inserted into a file moves its cuts along, so that the chunks behind it stay what they were.
//!
//! The crate wants the longest chunk in one piece of memory. The hash that decides is made of the bytes since the last cut
//! and needs none of them again, so here they are looked at as they come, wherever they lie, and none is kept. Where the
//! crate leaves a content's very last byte out of sight if its chunk's length is odd, it is looked at here.
//!
//! How long chunks are follows from where they begin and not from the size, which isn't known while a content streams in:
//! a file that grows is cut as before.

use fastcdc::v2020::{MASKS, get_gear_with_seed};

/// Makes our cuts others than those of all who use the tables as they are. "grapevin".
const SEED: u64 = 0x6772_6170_6576_696e;
/// Chunks have this length on average, in bytes, as long as they begin below [`DOUBLED_FROM`].
const AVERAGE_BYTES: u32 = 64 << 10;
/// From this offset on it is twice as long, and again from each doubling of the offset.
const DOUBLED_FROM: u64 = 1 << 30;
/// It is doubled that often at most: 1 MiB, so that 64 GiB are some 100,000 chunks.
const MAX_DOUBLINGS: u32 = 4;
/// How much stricter than the average demands the hash is judged below it, and how much less strictly above it, in bits:
/// section 3.3 of the paper, "normalized chunking" of level 2.
const NORMALIZATION: u32 = 2;

/// Finds the cuts of one content.
#[derive(Debug)]
pub struct Cutter {
    tables: Box<Tables>,
    rule: Rule,
    /// Where the chunk begins that is being looked at.
    offset: u64,
    /// How many of its bytes have come.
    len_bytes: u32,
    /// The hash of those behind the shortest length.
    hash: u64,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Its first byte.
    pub offset: u64,
    /// Its length; never 0.
    pub len_bytes: u32,
}

/// How long a chunk may be.
#[derive(Debug, Clone, Copy)]
struct Rule {
    shortest: u32,
    average: u32,
    longest: u32,
    /// What decides below the average.
    strict: u64,
    /// What decides above it.
    loose: u64,
}

/// What each byte adds to the hash: once as it is, once for the first of a pair.
#[derive(Debug)]
struct Tables {
    second: [u64; 256],
    first: [u64; 256],
}

impl Default for Cutter {
    fn default() -> Self {
        Self::at(0)
    }
}

impl Cutter {
    /// Goes on with a content at this offset, where a chunk begins.
    pub fn at(offset: u64) -> Self {
        Self { tables: Box::new(Tables::new()), rule: Rule::at(offset), offset, len_bytes: 0, hash: 0 }
    }

    /// Looks at bytes that follow those before. Returns how many of them belong to the present chunk, and that chunk if it
    /// ends with them; then the others are to be pushed again.
    pub fn push(&mut self, bytes: &[u8]) -> (usize, Option<Cut>) {
        let mut rest = bytes;
        while let Some((mask, room)) = self.rule.stretch(self.len_bytes) {
            let (now, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            let found = mask.and_then(|mask| self.tables.find(&mut self.hash, now, mask));
            let taken = found.unwrap_or(now.len());
            self.len_bytes += u32::try_from(taken).unwrap_or(u32::MAX);
            if found.is_some() {
                return (bytes.len() - rest.len() + taken, Some(self.cut()));
            }
            rest = behind;
            if rest.is_empty() && now.len() < room {
                return (bytes.len(), None);
            }
        }
        (bytes.len() - rest.len(), Some(self.cut()))
    }

    /// The content ends here. Returns what is left of it, if anything is.
    pub fn finish(mut self) -> Option<Cut> {
        (self.len_bytes > 0).then(|| self.cut())
    }

    fn cut(&mut self) -> Cut {
        let cut = Cut { offset: self.offset, len_bytes: self.len_bytes };
        self.offset += u64::from(self.len_bytes);
        (self.len_bytes, self.hash, self.rule) = (0, 0, Rule::at(self.offset));
        cut
    }
}

/// How long a chunk that begins at this offset is on average, in bytes; the shortest one is a quarter of that, and the
/// longest four times as long.
pub fn average_bytes(offset: u64) -> u32 {
    let doublings = u64::BITS - (offset / DOUBLED_FROM).leading_zeros();
    AVERAGE_BYTES << doublings.min(MAX_DOUBLINGS)
}

impl Rule {
    fn at(offset: u64) -> Self {
        let average = average_bytes(offset);
        let bits = average.ilog2();
        let mask = |bits: u32| usize::try_from(bits).ok().and_then(|bits| MASKS.get(bits)).copied().unwrap_or_default();
        let (strict, loose) = (mask(bits + NORMALIZATION), mask(bits - NORMALIZATION));
        Self { shortest: average / 4, average, longest: average * 4, strict, loose }
    }

    /// With what the next bytes of a chunk of this length are judged, if at all, and how many they are; `None` where it has
    /// its longest length.
    fn stretch(&self, len_bytes: u32) -> Option<(Option<u64>, usize)> {
        let (mask, end) = match len_bytes {
            len if len < self.shortest => (None, self.shortest),
            len if len < self.average => (Some(self.strict), self.average),
            len if len < self.longest => (Some(self.loose), self.longest),
            _ => return None,
        };
        Some((mask, usize::try_from(end - len_bytes).unwrap_or(usize::MAX)))
    }
}

impl Tables {
    fn new() -> Self {
        let (second, first) = get_gear_with_seed(SEED);
        let mut tables = Self { second: [0; 256], first: [0; 256] };
        tables.second.iter_mut().zip(second.iter()).for_each(|(to, from)| *to = *from);
        tables.first.iter_mut().zip(first.iter()).for_each(|(to, from)| *to = *from);
        tables
    }

    /// The place of the first byte behind which the hash has none of the mask's bits. Two bytes at a time, as in section
    /// 3.4 of the paper: the first one's hash is shifted once too often, and so is what it is compared with.
    fn find(&self, hash: &mut u64, bytes: &[u8], mask: u64) -> Option<usize> {
        let (pairs, last) = bytes.as_chunks::<2>();
        for (place, [first, second]) in pairs.iter().enumerate() {
            *hash = (*hash << 2).wrapping_add(of_byte(&self.first, *first));
            if *hash & (mask << 1) == 0 {
                return Some(place * 2);
            }
            *hash = hash.wrapping_add(of_byte(&self.second, *second));
            if *hash & mask == 0 {
                return Some(place * 2 + 1);
            }
        }
        let [last] = last else { return None };
        *hash = (*hash << 1).wrapping_add(of_byte(&self.second, *last));
        (*hash & mask == 0).then_some(pairs.len() * 2)
    }
}

#[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
fn of_byte(table: &[u64; 256], byte: u8) -> u64 {
    table[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use fastcdc::v2020::{FastCDC, Normalization};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const GIB: u64 = 1 << 30;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut rng = Rng::from_seed(seed);
        from_fn(|| Some(rng.any().to_le_bytes())).flatten().take(len).collect()
    }

    /// The lengths of the chunks, of bytes that come in pieces of these lengths, again and again.
    fn cut_in_pieces(mut cutter: Cutter, mut bytes: &[u8], pieces: &[usize]) -> Vec<u32> {
        let (mut cuts, mut offset) = (Vec::new(), cutter.offset);
        for piece in pieces.iter().cycle() {
            let (mut now, rest) = bytes.split_at((*piece).min(bytes.len()));
            loop {
                let (taken, cut) = cutter.push(now);
                now = &now[taken..];
                cuts.extend(cut);
                if cut.is_none() {
                    assert!(now.is_empty());
                    break;
                }
            }
            bytes = rest;
            if bytes.is_empty() {
                break;
            }
        }
        cuts.extend(cutter.finish());
        for cut in &cuts {
            assert_eq!(cut.offset, offset);
            offset += u64::from(cut.len_bytes);
        }
        cuts.iter().map(|cut| cut.len_bytes).collect()
    }

    fn cut(bytes: &[u8]) -> Vec<u32> {
        cut_in_pieces(Cutter::default(), bytes, &[1 << 20])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_cut_alike_however_it_comes(seed: u64, len in 0_usize..1_000_000, pieces in vec(1_usize..200_000, 1..5)) {
            let bytes = noise(seed, len);
            let lens = cut_in_pieces(Cutter::default(), &bytes, &pieces);
            prop_assert_eq!(&lens, &cut(&bytes));
            prop_assert_eq!(lens.iter().map(|len| *len as usize).sum::<usize>(), len);
            let rule = Rule::at(0);
            if let Some((last, others)) = lens.split_last() {
                prop_assert!((1..=rule.longest).contains(last));
                prop_assert!(others.iter().all(|len| (rule.shortest..=rule.longest).contains(len)));
            }
        }
    }

    #[test]
    fn the_crate_itself_cuts_alike() {
        for (seed, offset) in [(1, 0), (2, 0), (3, GIB), (4, 64 * GIB)] {
            let bytes = noise(seed, 24 << 20);
            let average = average_bytes(offset) as usize;
            let (shortest, longest) = (average / 4, average * 4);
            let level = Normalization::Level2;
            let theirs = FastCDC::with_level_and_seed(&bytes, shortest, average, longest, level, SEED);
            let theirs: Vec<_> = theirs.map(|chunk| u32::try_from(chunk.length).unwrap()).collect();
            assert_eq!(cut_in_pieces(Cutter::at(offset), &bytes, &[4096, 1, 77_777]), theirs);
        }
    }

    #[test]
    fn cuts_stay_where_they_were_yesterday() {
        let near = cut(&noise(4711, 1 << 20));
        let lens =
            [79018, 66412, 96678, 76328, 83360, 32924, 118_667, 84904, 66825, 66379, 26589, 77188, 118_754, 54550];
        assert_eq!(near, lens);
        let far = cut_in_pieces(Cutter::at(64 * GIB), &noise(4711, 8 << 20), &[1 << 20]);
        assert_eq!(far, [1_051_277, 1_121_234, 1_638_575, 1_199_161, 1_698_829, 1_567_256, 112_276]);
    }

    #[test]
    fn chunks_have_their_average_length() {
        let lens = cut(&noise(1, 64 << 20));
        let average = (64 << 20) / lens.len();
        assert!((56_000..80_000).contains(&average), "{average}");
    }

    #[test]
    fn what_never_says_where_is_cut_at_the_longest_length() {
        assert_eq!(cut(&vec![0; 600_000]), [262_144, 262_144, 75_712]);
        assert_eq!(cut(&vec![0; 262_144]), [262_144]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn the_offset_decides_how_long_chunks_are() {
        let averages = [0, GIB - 1, GIB, 2 * GIB - 1, 2 * GIB, 4 * GIB, 8 * GIB, 64 * GIB, u64::MAX];
        assert_eq!(averages.map(|offset| average_bytes(offset) >> 10), [64, 64, 128, 128, 256, 512, 1024, 1024, 1024]);
        assert_eq!(cut_in_pieces(Cutter::at(GIB - 1), &vec![0; 1 << 20], &[999]), [262_144, 524_288, 262_144]);
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_alone() {
        let old = noise(5, 4 << 20);
        let new = [&old[..10_000], &noise(6, 4096)[..], &old[10_000..]].concat();
        let (mut before, mut after) = (cut(&old), cut(&new));
        while before.last() == after.last() && before.pop().is_some() {
            after.pop();
        }
        assert!(before.len() <= 3 && after.len() <= 3, "{before:?} became {after:?}");
    }
}

//! Which chunks a peer fetches first-hand, where several fetch the same content and relay it to each other: each block of
//! chunks has one of them as its home, by the largest hash (rendezvous hashing: Thaler and Ravishankar, "Using Name-Based
//! Mappings to Increase Hit Rates", 1998). Who knows of the same peers comes to the same result without a word, so that
//! what few have is sent once by these, and not once for each.

use crate::content::bits::Bits;
use crate::ids::PeerId;
use crate::wire::content::Run;

/// Chunks of a block: half a MiB on average, as much as is asked for at once.
const BLOCK_CHUNKS: u32 = 8;
/// Blocks whose bits are in one word.
const WORD_BLOCKS: u32 = u64::BITS / BLOCK_CHUNKS;

/// So many of a peer's last blocks are left to it: they are asked for already. What the smallest window holds, and one.
const LEFT_TO_IT: u32 = 3;

/// Where the blocks of a content are at home.
#[derive(Debug, Default)]
pub(super) struct Homes {
    others: Vec<PeerId>,
    chunks: u32,
    /// The chunks that are at home here.
    mine: Bits,
    /// Of each block where it is at home, and who would be next: places in `others`, or behind its end for this peer.
    blocks: Vec<(usize, usize)>,
    /// This peer's.
    key: u64,
}

impl Homes {
    /// Those of `me`, of so many chunks, where these others fetch them too.
    pub(super) fn update(&mut self, me: PeerId, others: Vec<PeerId>, chunks: u32) {
        if (&self.others, self.chunks) == (&others, chunks) {
            return;
        }
        let keys: Vec<_> = others.iter().copied().chain([me]).map(key).collect();
        let my_place = others.len();
        (self.others, self.chunks, self.mine, self.key) = (others, chunks, Bits::default(), key(me));
        self.blocks = (0..chunks.div_ceil(BLOCK_CHUNKS)).map(|block| first_two(&keys, block)).collect();
        for (block, (home, _)) in (0..).zip(&self.blocks) {
            if *home == my_place {
                self.mine.insert_run(run(block, chunks));
            }
        }
    }

    /// The chunks that are at home here.
    pub(super) fn mine(&self) -> &Bits {
        &self.mine
    }

    /// Where this peer can be of help: the first `open` chunk (told as words of bits) of a block that is at home elsewhere. Whoever is at home
    /// there has more of them to go than it has asked for, and begins in front; so it is taken from behind. Best where this
    /// peer would be the next; else anywhere, but not where others help who know the same.
    pub(super) fn to_help(&self, open: impl Fn(u32) -> u64) -> Option<u32> {
        let in_block = |block: u32| {
            let bits = open(block / WORD_BLOCKS) >> (block % WORD_BLOCKS * BLOCK_CHUNKS)
                & (u64::MAX >> (u64::BITS - BLOCK_CHUNKS));
            (bits != 0).then(|| block * BLOCK_CHUNKS + bits.trailing_zeros())
        };
        let blocks = self.blocks.iter().zip(0_u32..);
        let open: Vec<_> = blocks.filter_map(|((home, next), block)| Some((*home, *next, in_block(block)?))).collect();
        let mut left = vec![0; self.others.len() + 1];
        for (home, ..) in &open {
            if let Some(left) = left.get_mut(*home) {
                *left += 1;
            }
        }
        let is_helpful = |(home, ..): &&(usize, usize, u32)| left.get(*home).is_some_and(|left| *left > LEFT_TO_IT);
        let helpful: Vec<_> = open.iter().filter(is_helpful).collect();
        let mine = helpful.iter().rfind(|(_, next, _)| *next == self.others.len());
        let anywhere = usize::try_from(self.key % u64::try_from(helpful.len()).ok()?.max(1)).ok()?;
        mine.or_else(|| helpful.get(anywhere)).map(|(.., first)| *first)
    }
}

/// The places of the largest and the second largest weight.
fn first_two(keys: &[u64], block: u32) -> (usize, usize) {
    let mut all = [(0, 0); 2];
    for (place, key) in keys.iter().enumerate() {
        let weight = weight(*key, block);
        let [first, second] = all;
        if weight >= first.0 {
            all = [(weight, place), first];
        } else if weight >= second.0 {
            all = [first, (weight, place)];
        }
    }
    let [(_, first), (_, second)] = all;
    (first, second)
}

fn run(block: u32, chunks: u32) -> Run {
    let first = block * BLOCK_CHUNKS;
    Run { first, count: BLOCK_CHUNKS.min(chunks - first) }
}

fn key(peer: PeerId) -> u64 {
    peer.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// `SplitMix64`'s last step (Steele, Lea and Flood, 2014).
fn weight(key: u64, block: u32) -> u64 {
    let mixed = (key ^ u64::from(block).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_has_one_home_and_each_peer_its_share() {
        let peers: Vec<_> = (0_u8..8).map(|number| PeerId(*blake3::hash(&[number]).as_bytes())).collect();
        let homes: Vec<_> = peers
            .iter()
            .map(|me| {
                let mut homes = Homes::default();
                homes.update(*me, peers.iter().copied().filter(|peer| peer != me).collect(), 8001);
                homes
            })
            .collect();
        for chunk in 0..8001 {
            assert_eq!(homes.iter().filter(|homes| homes.mine().contains(chunk)).count(), 1);
        }
        assert!(homes.iter().all(|homes| (700..1300).contains(&homes.mine().count())));
    }

    #[test]
    fn who_is_next_helps_from_behind_and_leaves_the_last_ones_to_who_is_at_home() {
        let mut homes = Homes::default();
        homes.update(PeerId([1; 32]), vec![PeerId([2; 32])], 8 * 100);
        let theirs: Vec<u32> = (0..100).filter(|block| !homes.mine().contains(block * 8)).collect();
        let byte = |open: &[u32], block| if open.contains(&block) { 0xff << (block % 8 * 8) } else { 0 };
        let word = |open: &[u32], place: u32| (place * 8..place * 8 + 8).map(|block| byte(open, block)).sum();
        let help = |open: &[u32]| homes.to_help(|place| word(open, place));
        assert_eq!(help(&theirs), theirs.last().map(|block| block * 8));
        assert_eq!(help(&theirs[..4]), Some(theirs[3] * 8));
        assert_eq!(help(&theirs[..3]), None);
    }

    #[test]
    fn who_is_alone_fetches_all() {
        let mut homes = Homes::default();
        homes.update(PeerId([1; 32]), Vec::new(), 77);
        assert_eq!(homes.mine().count(), 77);
    }
}

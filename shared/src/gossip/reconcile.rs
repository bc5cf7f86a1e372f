//! Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", 2022, section 3): two sides compare the
//! sums of ranges, divide those that differ, and list the small ones. Cost follows the difference.
//!
//! Here a range is a prefix of the entries' hashed names ([`super::ledger`]), so both sides divide at the same places
//! and nothing about a comparison has to be remembered: each message is answered from the set alone. Entries are only
//! sent when they are asked for, page by page, so that neither side is flooded.

use std::collections::BTreeSet;

use crate::gossip::ledger::{EVERYTHING, Entry, Ledger};
use crate::wire::peer::{Claim, Key, MAX_CLAIMS, MAX_ENTRIES, MAX_KEYS, PeerMessage, Prefix, Set, Wanted};

/// Keys that are listed in answer to one message, give or take a claim's: 256 honest claims ask for about 32 each. What
/// is left unanswered is found by the next comparison.
const MAX_ANSWER_KEYS: usize = 16 * MAX_KEYS;

/// What follows from a neighbour's claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// To be claimed in turn.
    pub claims: Vec<Claim>,
    /// To be asked for.
    pub wanted: Vec<Wanted>,
}

/// What begins a comparison.
pub fn initial_claim<T: Entry>(ledger: &Ledger<T>) -> Claim {
    Claim::Fingerprint(EVERYTHING, ledger.total())
}

/// Compares a neighbour's claims with what is here.
pub fn answer<T: Entry>(ledger: &Ledger<T>, claims: &[Claim]) -> Answer {
    let mut answer = Answer::default();
    let mut listed = 0;
    for claim in claims {
        if listed >= MAX_ANSWER_KEYS {
            break;
        }
        let answered = answer.claims.len();
        match claim {
            Claim::Fingerprint(range, theirs) => {
                let mine = ledger.short(*range);
                if mine == Some(*theirs) {
                    continue;
                }
                if theirs.count > 0 && ledger.range(*range, Key(0)).next().is_none() {
                    answer.wanted.push(Wanted::Range(*range, Key(0)));
                } else if theirs.count == 0 {
                    answer
                        .claims
                        .extend(mine.map(|mine| Claim::Fingerprint(*range, mine)).or_else(|| list(ledger, *range)));
                } else {
                    divide(ledger, *range, &mut answer);
                }
            }
            Claim::ItemSet(range, theirs) => compare(ledger, *range, theirs, &mut answer),
            Claim::Missing(theirs) => want(ledger, theirs, &mut answer),
        }
        listed += answer.claims.iter().skip(answered).map(keys_in).sum::<usize>();
    }
    answer
}

fn keys_in(claim: &Claim) -> usize {
    match claim {
        Claim::Fingerprint(..) => 0,
        Claim::ItemSet(_, keys) | Claim::Missing(keys) => keys.len(),
    }
}

/// The parts of a range in short, or all of it where it isn't divided any further.
fn divide<T: Entry>(ledger: &Ledger<T>, range: Prefix, answer: &mut Answer) {
    let parts: Vec<Claim> =
        range.children().filter_map(|part| ledger.short(part).map(|short| Claim::Fingerprint(part, short))).collect();
    if !parts.is_empty() {
        return answer.claims.extend(parts);
    }
    match list(ledger, range) {
        Some(all) => answer.claims.push(all),
        // Somebody found names that hash into one range.
        None => answer.wanted.push(Wanted::Range(range, Key(0))),
    }
}

fn list<T: Entry>(ledger: &Ledger<T>, range: Prefix) -> Option<Claim> {
    let all: Vec<(Key, u64)> =
        ledger.range(range, Key(0)).take(MAX_KEYS + 1).map(|(key, hash, _)| (key, hash)).collect();
    (all.len() <= MAX_KEYS).then_some(Claim::ItemSet(range, all))
}

/// Against a complete list: asks for what is lacking here, and tells what is lacking there.
fn compare<T: Entry>(ledger: &Ledger<T>, range: Prefix, theirs: &[(Key, u64)], answer: &mut Answer) {
    want(ledger, theirs, answer);
    let known: BTreeSet<&(Key, u64)> = theirs.iter().collect();
    let extra: Vec<(Key, u64)> = ledger
        .range(range, Key(0))
        .map(|(key, hash, _)| (key, hash))
        .filter(|entry| !known.contains(entry))
        .take(MAX_KEYS)
        .collect();
    if !extra.is_empty() {
        answer.claims.push(Claim::Missing(extra));
    }
}

fn want<T: Entry>(ledger: &Ledger<T>, theirs: &[(Key, u64)], answer: &mut Answer) {
    let lacking = theirs.iter().filter(|(key, hash)| ledger.hash_of(*key) != Some(*hash)).map(|(key, _)| *key);
    for key in lacking {
        match answer.wanted.last_mut() {
            Some(Wanted::Keys(keys)) if keys.len() < MAX_ENTRIES => keys.push(key),
            _ => answer.wanted.push(Wanted::Keys(vec![key])),
        }
    }
}

/// The entries that a neighbour wants, at most a page of them, and what is left of its range.
pub fn page<T: Entry>(ledger: &Ledger<T>, wanted: &Wanted) -> (Vec<T>, Option<(Prefix, Key)>) {
    match wanted {
        Wanted::Keys(keys) => {
            (keys.iter().take(MAX_ENTRIES).filter_map(|key| ledger.get(*key).cloned()).collect(), None)
        }
        Wanted::Range(range, from) => {
            let mut rest = ledger.range(*range, *from);
            let entries = rest.by_ref().take(MAX_ENTRIES).map(|(_, _, entry)| entry.clone()).collect();
            (entries, rest.next().map(|(key, _, _)| (*range, key)))
        }
    }
}

/// Claims as messages of allowed size.
pub fn messages(set: Set, claims: Vec<Claim>) -> impl Iterator<Item = PeerMessage> {
    let mut claims = claims.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut keys = 0;
        let mut part = Vec::new();
        while part.len() < MAX_CLAIMS && keys < MAX_KEYS {
            let Some(claim) = claims.next() else { break };
            keys += keys_in(&claim);
            part.push(claim);
        }
        (!part.is_empty()).then_some(PeerMessage::Reconcile(set, part))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::gossip::anti_entropy::fetch::{Fetch, Page};
    use crate::gossip::catalogue::Catalogue;
    use crate::gossip::io::LinkId;
    use crate::ids::{PeerId, Version};
    use crate::stamp::Stamp;
    use crate::time::Instant;
    use crate::wire::frame::encode;
    use crate::wire::update::FileUpdate;

    fn update(file: u64, version: u64) -> Arc<FileUpdate> {
        let id = format!("0193a5c0-7b1e-7000-8000-{file:012}").parse().unwrap();
        Arc::new(FileUpdate::injected(id, Version(version), Stamp(version), PeerId([7; 32])))
    }

    /// What one comparison took: messages in both directions, their bytes, and those of the entries alone.
    #[derive(Debug, Default)]
    struct Cost {
        half_trips: usize,
        bytes: usize,
        entries: usize,
    }

    /// Both sides' fetches, message by message, until nothing is left to say.
    fn reconcile(a: &mut Catalogue, b: &mut Catalogue) -> Cost {
        let mut cost = Cost::default();
        let sides = [a, b];
        let mut fetches = [Fetch::default(), Fetch::default()];
        let mut said = vec![PeerMessage::Reconcile(Set::Catalogue, vec![initial_claim(sides[0])])];
        let mut speaker = 0;
        let mut quiet = 0;
        while quiet < 2 {
            quiet = if said.is_empty() { quiet + 1 } else { 0 };
            cost.half_trips += usize::from(!said.is_empty());
            let listener = 1 - speaker;
            let mut replies = Vec::new();
            for message in said {
                cost.bytes += encode(&message).unwrap().len();
                match message {
                    PeerMessage::Reconcile(set, claims) => {
                        let answer = answer(sides[listener], &claims);
                        replies.extend(messages(set, answer.claims));
                        fetches[listener].request(LinkId(1), set, answer.wanted, Instant::START);
                    }
                    PeerMessage::Request(_, wanted) => replies.extend(wanted.iter().map(|wanted| {
                        let (entries, rest) = page(sides[listener], wanted);
                        PeerMessage::State { entries, rest }
                    })),
                    PeerMessage::State { entries, rest } => {
                        for entry in entries {
                            cost.entries += postcard::to_stdvec(&entry).unwrap().len();
                            sides[listener].merge(entry);
                        }
                        let page = Page { set: Set::Catalogue, rest, news: true };
                        fetches[listener].came(LinkId(1), page, Instant::START);
                    }
                    other => panic!("{other:?}"),
                }
            }
            while let Some((_, set, wanted)) = fetches[listener].poll_request() {
                replies.push(PeerMessage::Request(set, vec![wanted]));
            }
            said = replies;
            speaker = listener;
        }
        cost
    }

    fn files() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0..400_u64, 1..4_u64), 0..300)
    }

    proptest! {
        #[test]
        fn convergence_any_two_sets_become_their_union(a in files(), b in files()) {
            let set = |files: &[(u64, u64)]| files.iter().map(|(file, version)| update(*file, *version)).collect();
            let (mut left, mut right): (Catalogue, Catalogue) = (set(&a), set(&b));
            let mut union = left.clone();
            for entry in right.iter() {
                union.merge(entry.clone());
            }
            reconcile(&mut left, &mut right);
            prop_assert!(left == union);
            prop_assert!(right == union);
            prop_assert_eq!(left.total(), right.total());
        }
    }

    #[test]
    fn ten_of_100_000_files_cost_six_round_trips_and_64_kib_at_most() {
        let mut a: Catalogue = (0..100_000).map(|file| update(file, 1)).collect();
        let mut b = a.clone();
        for file in 0..5 {
            a.merge(update(file * 17_000, 2));
            b.merge(update(1_000_000 + file, 1));
        }
        let cost = reconcile(&mut a, &mut b);
        println!("{cost:?}");
        assert!(a == b);
        assert!(cost.half_trips <= 12 && cost.bytes <= 64 * 1024, "{cost:?}");
    }

    #[test]
    fn one_of_a_million_files_costs_20_kb_at_most() {
        let mut a: Catalogue = (0..1_000_000).map(|file| update(file, 1)).collect();
        let mut b = a.clone();
        a.merge(update(123_456, 2));
        let cost = reconcile(&mut a, &mut b);
        println!("{cost:?}");
        assert!(a == b);
        assert!(cost.bytes <= 20_000, "{cost:?}");
    }

    #[test]
    fn a_newcomer_gets_everything_for_little_more_than_its_bytes() {
        let mut a: Catalogue = (0..100_000).map(|file| update(file, 1)).collect();
        let mut b = Catalogue::default();
        let cost = reconcile(&mut a, &mut b);
        println!("{cost:?}");
        assert!(a == b);
        assert!(cost.bytes * 10 <= cost.entries * 13, "{cost:?}");
    }
}

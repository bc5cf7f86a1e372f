//! Anti-entropy: when two neighbours compare what they know ([`super::reconcile`]), what is fetched from whom, and how
//! a difference found with one is told to the others.

use std::time::Duration;

use crate::gossip::anti_entropy::fetch::{Fetch, Fetched, Page};
use crate::gossip::catalogue::Catalogue;
use crate::gossip::census::Census;
use crate::gossip::deadlines::Deadline;
use crate::gossip::io::LinkId;
use crate::gossip::links::Role;
use crate::gossip::reconcile;
use crate::gossip::runtime::Runtime;
use crate::wire::peer::{Claim, Fingerprint, PeerMessage, Set, Wanted};

pub mod fetch;

/// A node's comparisons with its neighbours.
#[derive(Debug)]
pub struct AntiEntropy {
    /// How long two sums must differ unchanged before that is looked into.
    patience: Duration,
    /// The pause between two comparisons on one link.
    pause: Duration,
    fetch: Fetch,
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    /// The files.
    pub catalogue: &'a Catalogue,
    /// The peers.
    pub census: &'a Census,
}

impl AntiEntropy {
    /// Nothing is compared yet. `patience`: how long two sums must differ unchanged; `pause`: between two comparisons
    /// on a link.
    pub fn new(patience: Duration, pause: Duration) -> Self {
        Self { patience, pause, fetch: Fetch::default() }
    }

    // --- comparisons ----------------------------------------------------------------------------------------------

    /// Begins a comparison of files, or plans one where the last was only just.
    pub fn compare_with(&self, link: LinkId, catalogue: &Catalogue, rt: &mut Runtime) {
        let Some(comparison) = rt.links.get_mut(link).map(|link| &mut link.comparison) else { return };
        if let Some(later) = comparison.begin(rt.now, self.pause) {
            return rt.deadlines.hasten(Deadline::Links, later);
        }
        let opening = reconcile::initial_claim(catalogue);
        rt.send(vec![link], PeerMessage::Reconcile(Set::Catalogue, vec![opening]));
    }

    /// Begins the comparisons that are due, and gives up a fetch that is.
    pub fn tick(&mut self, sets: Sets<'_>, rt: &mut Runtime) {
        let planned: Vec<LinkId> =
            rt.links.iter().filter(|(_, link)| link.comparison.is_planned()).map(|(id, _)| id).collect();
        for link in planned {
            self.compare_with(link, sets.catalogue, rt);
        }
        match self.fetch.until() {
            Some((link, until)) if rt.now >= until => self.gone(link, sets, rt),
            Some((_, until)) => rt.deadlines.hasten(Deadline::Links, until),
            None => {}
        }
    }

    /// A neighbour told its sum. What differs now may be on its way; what differs unchanged for a while, or for long,
    /// is looked into.
    pub fn compare_sums(&self, id: LinkId, theirs: Fingerprint, catalogue: &Catalogue, rt: &mut Runtime) {
        let Some(link) = rt.links.get_mut(id) else { return };
        if !matches!(link.role, Role::Neighbour { .. }) {
            return link.comparison.is_settled();
        }
        if link.comparison.differs(catalogue.total(), theirs, rt.now, self.patience) {
            self.compare_with(id, catalogue, rt);
        }
    }

    /// Somebody says what it has: answers what is different here, and asks for what is lacking.
    pub fn claimed(&mut self, link: LinkId, set: Set, claims: &[Claim], sets: Sets<'_>, rt: &mut Runtime) {
        let answer = match set {
            Set::Catalogue => reconcile::answer(sets.catalogue, claims),
            Set::Census if sets.census.is_on() => reconcile::answer(sets.census.records(), claims),
            Set::Census => return,
        };
        for message in reconcile::messages(set, answer.claims) {
            rt.send(vec![link], message);
        }
        // Only neighbours send what they are asked for.
        if rt.links.get(link).is_some_and(|link| matches!(link.role, Role::Neighbour { .. })) {
            self.fetch.request(link, set, answer.wanted, rt.now);
            self.ask_for_wishes(rt);
        }
    }

    /// A page came, and its entries were taken.
    pub fn came(&mut self, link: LinkId, page: Page, sets: Sets<'_>, rt: &mut Runtime) {
        if let Some(fetched) = self.fetch.came(link, page, rt.now) {
            self.after_fetch(&fetched, sets, rt);
        }
        self.ask_for_wishes(rt);
    }

    /// A link is gone, or too slow to fetch anything from.
    pub fn gone(&mut self, link: LinkId, sets: Sets<'_>, rt: &mut Runtime) {
        if let Some(fetched) = self.fetch.gone(link) {
            self.after_fetch(&fetched, sets, rt);
        }
    }

    fn ask_for_wishes(&mut self, rt: &mut Runtime) {
        while let Some((link, set, wanted)) = self.fetch.poll_request() {
            rt.send(vec![link], PeerMessage::Request(set, vec![wanted]));
        }
    }

    /// What others have said meanwhile is looked into; and where a fetch brought news, the other neighbours are told by
    /// comparing with them: so a difference spreads in rounds of comparisons, each of the size of what is still
    /// missing.
    fn after_fetch(&self, fetched: &Fetched, sets: Sets<'_>, rt: &mut Runtime) {
        let Fetched { link, news, waiting } = fetched;
        for (waiting, set) in waiting {
            match set {
                Set::Catalogue => self.compare_with(*waiting, sets.catalogue, rt),
                Set::Census => compare_records_with(*waiting, sets.census, rt),
            }
        }
        if *news {
            for other in rt.links.neighbours_but(*link) {
                if !waiting.contains(&(other, Set::Catalogue)) {
                    self.compare_with(other, sets.catalogue, rt);
                }
            }
        }
    }
}

/// Begins a comparison of peers.
pub fn compare_records_with(link: LinkId, census: &Census, rt: &mut Runtime) {
    if census.is_on() {
        let opening = reconcile::initial_claim(census.records());
        rt.send(vec![link], PeerMessage::Reconcile(Set::Census, vec![opening]));
    }
}

/// Somebody asks for entries.
pub fn wanted(link: LinkId, set: Set, wanted: &[Wanted], sets: Sets<'_>, rt: &mut Runtime) {
    for wanted in wanted {
        let message = match set {
            Set::Catalogue => {
                let (entries, rest) = reconcile::page(sets.catalogue, wanted);
                PeerMessage::State { entries, rest }
            }
            Set::Census => {
                let (entries, rest) = reconcile::page(sets.census.records(), wanted);
                PeerMessage::Records { entries: entries.into_iter().map(|known| known.record).collect(), rest }
            }
        };
        rt.send(vec![link], message);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gossip::config::CensusRate;
    use crate::ids::{PeerId, Version};
    use crate::stamp::Stamp;
    use crate::wire::update::FileUpdate;

    const PATIENCE: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(250);

    fn catalogue(files: &[&str]) -> Catalogue {
        let file = |file: &&str| FileUpdate::injected(file.parse().unwrap(), Version(1), Stamp(1), PeerId([7; 32]));
        files.iter().map(|name| Arc::new(file(name))).collect()
    }

    fn compared(rt: &mut Runtime) -> Vec<u64> {
        let is_opening = |message: &PeerMessage| matches!(message, PeerMessage::Reconcile(Set::Catalogue, _));
        rt.sent().into_iter().filter(|(_, message)| is_opening(message)).map(|(to, _)| to.0).collect()
    }

    #[test]
    fn a_comparison_that_comes_too_soon_is_made_after_a_pause() {
        let (mut rt, census) = (Runtime::with_neighbours(1), Census::new(CensusRate::default()));
        let (mut anti_entropy, catalogue) = (AntiEntropy::new(PATIENCE, PAUSE), catalogue(&["a"]));
        for _ in 0..3 {
            anti_entropy.compare_with(LinkId(1), &catalogue, &mut rt);
        }
        assert_eq!(compared(&mut rt), [1]);
        rt.pass(PAUSE);
        assert!(rt.deadlines.is_due(Deadline::Links, rt.now));
        for _ in 0..3 {
            anti_entropy.tick(Sets { catalogue: &catalogue, census: &census }, &mut rt);
        }
        assert_eq!(compared(&mut rt), [1]);
    }

    #[test]
    fn what_a_neighbour_has_is_fetched_and_the_others_are_told() {
        let (mut rt, census) = (Runtime::with_neighbours(3), Census::new(CensusRate::default()));
        let (mut anti_entropy, mine, theirs) = (AntiEntropy::new(PATIENCE, PAUSE), catalogue(&[]), catalogue(&["a"]));
        let sets = Sets { catalogue: &mine, census: &census };
        let claims = [reconcile::initial_claim(&theirs)];
        anti_entropy.claimed(LinkId(2), Set::Catalogue, &claims, sets, &mut rt);
        assert!(matches!(rt.sent().as_slice(), [(LinkId(2), PeerMessage::Request(Set::Catalogue, _))]));
        let sets = Sets { catalogue: &theirs, census: &census };
        anti_entropy.came(LinkId(2), Page { set: Set::Catalogue, rest: None, news: true }, sets, &mut rt);
        assert_eq!(compared(&mut rt), [1, 3]);
    }

    #[test]
    fn nothing_is_fetched_from_a_client() {
        let (mut rt, census) = (Runtime::with_neighbours(1), Census::new(CensusRate::default()));
        rt.links.identify(LinkId(1), Role::Client);
        let (mut anti_entropy, mine) = (AntiEntropy::new(PATIENCE, PAUSE), catalogue(&[]));
        let claims = [reconcile::initial_claim(&catalogue(&["a"]))];
        let sets = Sets { catalogue: &mine, census: &census };
        anti_entropy.claimed(LinkId(1), Set::Catalogue, &claims, sets, &mut rt);
        assert_eq!(rt.sent(), []);
    }

    #[test]
    fn sums_that_differ_unchanged_are_looked_into() {
        let (mut rt, catalogue) = (Runtime::with_neighbours(1), catalogue(&["a"]));
        let anti_entropy = AntiEntropy::new(PATIENCE, PAUSE);
        let theirs = Fingerprint::default();
        anti_entropy.compare_sums(LinkId(1), theirs, &catalogue, &mut rt);
        assert!(compared(&mut rt).is_empty());
        rt.pass(PATIENCE);
        anti_entropy.compare_sums(LinkId(1), theirs, &catalogue, &mut rt);
        assert_eq!(compared(&mut rt), [1]);
    }

    #[test]
    fn wishes_are_answered_with_pages() {
        let (mut rt, census, catalogue) =
            (Runtime::with_neighbours(1), Census::new(CensusRate::default()), catalogue(&["a", "b"]));
        let all = [Wanted::Range(crate::gossip::ledger::EVERYTHING, crate::wire::peer::Key(0))];
        wanted(LinkId(1), Set::Catalogue, &all, Sets { catalogue: &catalogue, census: &census }, &mut rt);
        let sent = rt.sent();
        let [(LinkId(1), PeerMessage::State { entries, rest: None })] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(entries.len(), 2);
    }
}

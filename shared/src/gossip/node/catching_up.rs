//! Anti-entropy: when two neighbours compare what they know, and how a difference found with one is told to the others.

use std::sync::Arc;
use std::time::Duration;

use crate::gossip::io::{LinkId, NodeEvent};
use crate::gossip::links::{Difference, Role};
use crate::gossip::node::Node;
use crate::gossip::reconcile::{self, Fetched};
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{Claim, Fingerprint, Key, PeerMessage, Prefix, Set, Wanted};
use crate::wire::update::FileUpdate;

/// While news keeps coming, two neighbours are never quite the same: after this long a difference is looked into even
/// so. A guess.
const LASTING: Duration = Duration::from_secs(30);
/// A fetch from which nothing has come for this long is taken up with somebody else. As long as a hello may take.
const STALLED: Duration = Duration::from_secs(5);
/// After this long it's the turn of somebody else who has something, so that nobody is fetched from for ever. A guess:
/// some 300,000 files on a link of 100 ms.
const TURN: Duration = Duration::from_secs(30);

impl Node {
    pub(super) fn congested(&mut self, link: LinkId) {
        self.tree.congested(link);
        self.originals.congested(link);
        if let Some(Role::Neighbour { peer, .. }) = self.links.get(link).map(|link| link.role) {
            self.event(NodeEvent::Slow { peer });
        }
    }

    pub(super) fn drained(&mut self, now: Instant, link: LinkId) {
        match self.links.get(link).map(|link| link.role) {
            Some(Role::Original { .. }) => self.originals.drained(link, now),
            Some(Role::Neighbour { peer, .. }) => {
                let withheld = self.tree.drained(link);
                self.event(NodeEvent::KeepsUp { peer, withheld });
                self.compare_with(now, link);
            }
            Some(Role::Stranger | Role::Asked { .. } | Role::Client | Role::Expected { .. }) | None => {}
        }
    }

    /// Begins a comparison of files, or plans one where the last was only just.
    pub(super) fn compare_with(&mut self, now: Instant, link: LinkId) {
        let pause = self.config.reconcile_pause;
        let Some(compared) = self.links.get_mut(link) else { return };
        if let Some(again_at) = compared.compared.map(|last| last + pause).filter(|again_at| now < *again_at) {
            compared.compare_again = true;
            self.check_at = self.check_at.min(again_at);
            return;
        }
        (compared.compared, compared.compare_again) = (Some(now), false);
        let opening = reconcile::opening(&self.catalogue);
        self.send(now, vec![link], PeerMessage::Reconcile(Set::Catalogue, vec![opening]));
    }

    /// Begins the comparisons that are due.
    pub(super) fn compare_again(&mut self, now: Instant) {
        let planned: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.compare_again).map(|(id, _)| id).collect();
        for link in planned {
            self.compare_with(now, link);
        }
    }

    /// Begins a comparison of peers.
    pub(super) fn compare_records_with(&mut self, now: Instant, link: LinkId) {
        if self.census.is_on() {
            let opening = reconcile::opening(self.census.records());
            self.send(now, vec![link], PeerMessage::Reconcile(Set::Census, vec![opening]));
        }
    }

    /// A neighbour told its sum. What differs now may be on its way; what differs unchanged for a while, or for long, is
    /// looked into.
    pub(super) fn compare_sums(&mut self, now: Instant, id: LinkId, theirs: Fingerprint) {
        let mine = self.catalogue.total();
        let patience = self.config.reconcile_after;
        let Some(link) = self.links.get_mut(id) else { return };
        if mine == theirs || !matches!(link.role, Role::Neighbour { .. }) {
            link.difference = None;
            return;
        }
        let former = *link.difference.get_or_insert(Difference { theirs, mine, since: now });
        let unchanged = former.theirs == theirs && former.mine == mine;
        if (unchanged && now - former.since >= patience) || now - former.since >= LASTING {
            link.difference = None;
            self.compare_with(now, id);
        } else if !unchanged && let Some(link) = self.links.get_mut(id) {
            link.difference = Some(Difference { theirs, mine, since: former.since });
        }
    }

    pub(super) fn claimed(&mut self, now: Instant, link: LinkId, set: Set, claims: &[Claim]) {
        let answer = match set {
            Set::Catalogue => reconcile::answer(&self.catalogue, claims),
            Set::Census if self.census.is_on() => reconcile::answer(self.census.records(), claims),
            Set::Census => return,
        };
        for message in reconcile::messages(set, answer.claims) {
            self.send(now, vec![link], message);
        }
        // Only neighbours send what they are asked for.
        if self.links.get(link).is_some_and(|link| matches!(link.role, Role::Neighbour { .. })) {
            self.fetch.wish(link, set, answer.wanted, now);
            self.ask_for_wishes(now);
        }
    }

    pub(super) fn wanted(&mut self, now: Instant, link: LinkId, set: Set, wanted: &[Wanted]) {
        for wanted in wanted {
            let message = match set {
                Set::Catalogue => {
                    let (entries, rest) = reconcile::page(&self.catalogue, wanted);
                    PeerMessage::State { entries, rest }
                }
                Set::Census => {
                    let (entries, rest) = reconcile::page(self.census.records(), wanted);
                    PeerMessage::Records { entries: entries.into_iter().map(|known| known.record).collect(), rest }
                }
            };
            self.send(now, vec![link], message);
        }
    }

    pub(super) fn state(
        &mut self,
        now: Instant,
        link: LinkId,
        from: PeerId,
        entries: &[Arc<FileUpdate>],
        rest: Option<(Prefix, Key)>,
    ) {
        let mut news = false;
        for update in entries {
            // What is on its way comes to the others, too, without anybody's comparing.
            news |= self.received(now, from, update, None) && self.is_settled(now, update);
        }
        let fetched = self.fetch.came(link, Set::Catalogue, rest, news, now);
        self.after_fetch(now, fetched);
        self.ask_for_wishes(now);
    }

    pub(super) fn ask_for_wishes(&mut self, now: Instant) {
        while let Some((link, set, wanted)) = self.fetch.poll_wish() {
            self.send(now, vec![link], PeerMessage::Want(set, vec![wanted]));
        }
    }

    /// What others have said meanwhile is looked into; and where a fetch brought news, the other neighbours are told by
    /// comparing with them: so a difference spreads in rounds of comparisons, each of the size of what is still missing.
    pub(super) fn after_fetch(&mut self, now: Instant, fetched: Option<Fetched>) {
        let Some(Fetched { link, news, waiting }) = fetched else { return };
        for (waiting, set) in &waiting {
            match set {
                Set::Catalogue => self.compare_with(now, *waiting),
                Set::Census => self.compare_records_with(now, *waiting),
            }
        }
        if news {
            for other in self.neighbours_but(link) {
                if !waiting.contains(&(other, Set::Catalogue)) {
                    self.compare_with(now, other);
                }
            }
        }
    }

    pub(super) fn give_up_a_long_fetch(&mut self, now: Instant) {
        let Some((link, until)) = self.fetch.until(STALLED, TURN) else { return };
        if now < until {
            self.check_at = self.check_at.min(until);
            return;
        }
        let fetched = self.fetch.gone(link);
        self.after_fetch(now, fetched);
    }
}

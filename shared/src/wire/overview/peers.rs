//! Who the peers are, and how they are linked, as far as was told. Ours, which this server runs, are known by what they say
//! themselves; the others by what ours say of their links with them, and by what they told all others of themselves.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::ids::PeerId;
use crate::wire::event::PeerState;
use crate::wire::overview::Overview;
use crate::wire::peer_view::PeerView;

impl Overview {
    // --- ours -----------------------------------------------------------------------------------------------------

    pub(super) fn started(&mut self, peer: PeerId, addr: SocketAddr, files: u32) {
        let successor_of: Vec<PeerId> =
            self.peers.iter().filter(|(id, view)| view.addr == addr && **id != peer).map(|(id, _)| *id).collect();
        for former in successor_of {
            self.remove(former);
        }
        let files = Some(files);
        self.peers.insert(peer, PeerView { addr, state: PeerState::Up, files, neighbours: BTreeSet::new() });
        self.count_up();
    }

    pub(super) fn stopped(&mut self, peer: PeerId, state: PeerState) {
        self.unlink(peer);
        self.set_state(peer, state);
        self.look_at_the_others();
    }

    pub(super) fn is_back(&mut self, peer: PeerId) {
        self.set_state(peer, PeerState::Up);
    }

    pub(super) fn linked(&mut self, peer: PeerId, neighbour: PeerId, addr: SocketAddr) {
        let view = self.peers.entry(neighbour).or_insert_with(|| PeerView::elsewhere(addr));
        if !view.state.is_ours() {
            view.state = PeerState::Remote;
            view.neighbours.insert(peer);
        }
        self.set_link(peer, neighbour, true);
    }

    pub(super) fn unlinked(&mut self, peer: PeerId, neighbour: PeerId) {
        self.set_link(peer, neighbour, false);
        if self.is_elsewhere(&neighbour) {
            self.set_link(neighbour, peer, false);
        }
        self.look_at_the_others();
    }

    fn set_state(&mut self, peer: PeerId, state: PeerState) {
        if let Some(view) = self.peers.get_mut(&peer) {
            view.state = state;
        }
        self.count_up();
    }

    fn count_up(&mut self) {
        let running = self.peers.values().filter(|view| view.state == PeerState::Up);
        self.up = u32::try_from(running.count()).unwrap_or(u32::MAX);
    }

    // --- others ---------------------------------------------------------------------------------------------------

    /// A peer told of itself. Ours are known better. A link between two others is there if the one says so that told last.
    pub(super) fn told(&mut self, peer: PeerId, addr: SocketAddr, files: Option<u32>, neighbours: &BTreeSet<PeerId>) {
        let view = self.peers.entry(peer).or_insert_with(|| PeerView::elsewhere(addr));
        if view.state.is_ours() {
            return;
        }
        (view.addr, view.files) = (addr, files);
        let concerned: Vec<PeerId> = view.neighbours.iter().chain(neighbours).copied().collect();
        for other in concerned.into_iter().filter(|other| *other != peer) {
            if self.is_elsewhere(&other) {
                let is_linked = neighbours.contains(&other);
                self.set_link(peer, other, is_linked);
                self.set_link(other, peer, is_linked);
            }
        }
    }

    /// One of ours was forgotten; or of another nobody tells any more.
    pub(super) fn forgotten(&mut self, peer: PeerId) {
        match self.peers.get(&peer).map(|view| (view.state.is_ours(), view.addr)) {
            Some((false, addr)) => self.told(peer, addr, None, &BTreeSet::new()),
            Some((true, _)) | None => self.remove(peer),
        }
        self.look_at_the_others();
    }

    fn is_elsewhere(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|view| !view.state.is_ours())
    }

    /// Another is shown as long as one of ours is linked with it, or as it has told of itself and one of ours is there to
    /// hear it.
    fn look_at_the_others(&mut self) {
        let hear = self.peers.values().any(|view| view.state.runs());
        let mut linked = BTreeSet::new();
        let ours = self.peers.values().filter(|view| view.state.is_ours());
        linked.extend(ours.flat_map(|view| &view.neighbours).copied());
        let mut gone = Vec::new();
        for (id, view) in self.peers.iter_mut().filter(|(_, view)| !view.state.is_ours()) {
            view.state = if linked.contains(id) { PeerState::Remote } else { PeerState::Unknown };
            if view.state == PeerState::Unknown && !(hear && view.files.is_some()) {
                gone.push(*id);
            }
        }
        for peer in gone {
            self.remove(peer);
        }
    }

    // --- both -----------------------------------------------------------------------------------------------------

    fn remove(&mut self, peer: PeerId) {
        self.unlink(peer);
        // Only of ours is it known what they hold.
        if self.peers.remove(&peer).is_some_and(|view| view.state.is_ours()) {
            self.forget_holdings(peer);
        }
    }

    /// A peer has no links any more. Ours say themselves that theirs with it are gone.
    fn unlink(&mut self, peer: PeerId) {
        let neighbours = self.peers.get_mut(&peer).map(|view| std::mem::take(&mut view.neighbours));
        for neighbour in neighbours.into_iter().flatten() {
            if self.is_elsewhere(&neighbour) {
                self.set_link(neighbour, peer, false);
            }
        }
    }

    fn set_link(&mut self, peer: PeerId, neighbour: PeerId, is_up: bool) {
        let Some(view) = self.peers.get_mut(&peer) else { return };
        if is_up {
            view.neighbours.insert(neighbour);
        } else {
            view.neighbours.remove(&neighbour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Version;
    use crate::wire::event::Event;
    use crate::wire::overview::tests::{addr, feed, peer, started};

    fn applied(n: u8, file: &str) -> Event {
        let (file, version) = (file.parse().unwrap(), Version(1));
        Event::UpdateApplied { peer: peer(n), file, version, files: 1, owner: None }
    }

    fn up(n: u8, neighbour: u8) -> Event {
        Event::LinkUp { peer: peer(n), neighbour: peer(neighbour), addr: addr(neighbour.into()) }
    }

    fn down(n: u8, neighbour: u8) -> Event {
        Event::LinkDown { peer: peer(n), neighbour: peer(neighbour), reason: String::new() }
    }

    fn told(n: u8, neighbours: &[u8]) -> Event {
        let neighbours = neighbours.iter().map(|n| peer(*n)).collect();
        Event::PeerTold { peer: peer(n), addr: addr(n.into()), files: 7, neighbours }
    }

    fn states(overview: &Overview) -> Vec<(u8, PeerState, Option<u32>)> {
        overview.peers.iter().map(|(id, view)| (id.0[0], view.state, view.files)).collect()
    }

    fn links(overview: &Overview) -> Vec<(u8, u8)> {
        overview.links().into_iter().map(|(a, b)| (a.0[0], b.0[0])).collect()
    }

    use PeerState::{Left, Remote, StandsBy, Unknown, Up};

    #[test]
    fn a_peer_of_others_is_shown_while_one_of_ours_is_linked_with_it() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), up(1, 9)]);
        assert_eq!(states(&overview), [(1, Up, Some(0)), (9, Remote, None)], "how many files it has isn't known");
        assert_eq!(links(&overview), [(1, 9)]);
        feed(&mut overview, [down(1, 9)]);
        assert_eq!(states(&overview), [(1, Up, Some(0))]);
    }

    #[test]
    fn peers_that_tell_of_themselves_are_shown_and_whether_they_run_is_known_of_neighbours_only() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), up(1, 9), told(8, &[9]), told(9, &[1, 8])]);
        assert_eq!(states(&overview), [(1, Up, Some(0)), (8, Unknown, Some(7)), (9, Remote, Some(7))]);
        assert_eq!(links(&overview), [(1, 9), (8, 9)]);
        feed(&mut overview, [down(1, 9)]);
        assert_eq!(states(&overview), [(1, Up, Some(0)), (8, Unknown, Some(7)), (9, Unknown, Some(7))]);
        assert_eq!(links(&overview), [(8, 9)], "of its links ours knows better");
        feed(&mut overview, [told(8, &[])]);
        assert_eq!(links(&overview), []);
        feed(&mut overview, [told(8, &[9]), Event::PeerForgotten { peer: peer(9) }]);
        assert_eq!(states(&overview), [(1, Up, Some(0)), (8, Unknown, Some(7))]);
        assert_eq!(links(&overview), []);
        feed(&mut overview, [Event::PeerStopped { peer: peer(1), state: Left }]);
        assert_eq!(states(&overview), [(1, Left, Some(0))], "nobody is there to hear them");
    }

    #[test]
    fn who_is_linked_with_ours_is_shown_when_what_it_told_is_forgotten() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), told(9, &[1]), up(1, 9), Event::PeerForgotten { peer: peer(9) }]);
        assert_eq!(states(&overview), [(1, Up, Some(0)), (9, Remote, None)]);
        assert_eq!(links(&overview), [(1, 9)]);
    }

    #[test]
    fn what_one_of_ours_is_told_to_have_said_of_itself_changes_nothing() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), told(1, &[5])]);
        assert_eq!(states(&overview), [(1, Up, Some(0))]);
    }

    #[test]
    fn who_stays_out_for_a_twin_is_not_up_until_it_is_back() {
        let (mut overview, file) = (Overview::new(10, true), "f".parse().unwrap());
        feed(&mut overview, [started(1), started(2), up(1, 2), applied(1, "f"), applied(2, "f")]);
        feed(&mut overview, [Event::SameIdentity { peer: peer(1), addr: addr(9), stands_by: false }]);
        assert_eq!(overview.running(), 2, "this one goes on");
        feed(&mut overview, [Event::SameIdentity { peer: peer(1), addr: addr(9), stands_by: true }]);
        assert_eq!(states(&overview), [(1, StandsBy, Some(1)), (2, Up, Some(1))]);
        assert_eq!((overview.running(), overview.reached(&file, Version(1))), (1, Some(1)));
        assert_eq!(overview.reach(&file).unwrap().members(), 1, "it is no member beside the other");
        feed(&mut overview, [Event::PeerBack { peer: peer(1) }]);
        assert_eq!((overview.running(), overview.reached(&file, Version(1))), (2, Some(2)));
    }

    #[test]
    fn a_forgotten_peer_is_no_member_and_holds_nothing() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), started(2), applied(1, "f")]);
        feed(&mut overview, [Event::PeerStopped { peer: peer(1), state: Left }]);
        feed(&mut overview, [Event::PeerForgotten { peer: peer(1) }]);
        assert_eq!(states(&overview), [(2, Up, Some(0))]);
        assert!(overview.files.values().all(|view| view.holders.is_empty()));
    }
}

//! A tree among peers that take turns, each for long, as many processes on few cores do: what is quicker now isn't a
//! moment later, and still hardly anybody may be cut off.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shared::gossip::config::Broadcast;
use shared::gossip::io::LinkId;
use shared::gossip::recent::Pushed;
use shared::gossip::tree::Tree;
use shared::rng::Rng;
use shared::time::Instant;
use shared::wire::broadcast::Source;
use shared::wire::peer::{Payload, PeerMessage};

const PEERS: u64 = 12;
const NEIGHBOURS: u64 = 4;
const BROADCASTS: u64 = 600;
/// How many come before the first turn ends.
const AT_ONCE: u64 = 50;
/// Messages that a peer takes in a turn at most.
const TURN: u64 = 80;

const CROWDS: u64 = 200;
/// In so many of them somebody is cut off and would have to ask. Where the slower way is pruned, as in the paper (let
/// `Tree::superfluous` give `Some(link)`), in all 200.
const CROWDS_WITH_A_CUT: usize = 4;

/// Peers, and what is on its way: by receiver and sender.
struct Crowd {
    trees: BTreeMap<u64, Tree>,
    on_the_way: BTreeMap<(u64, u64), VecDeque<PeerMessage>>,
    came: BTreeMap<u64, u64>,
    now: Instant,
    rng: Rng,
}

impl Crowd {
    /// All links are the tree's at first. A link's name is the neighbour's number.
    fn new(seed: u64) -> Self {
        let tree = |peer| (peer, Tree::new(Source(100 + peer), Broadcast::default()));
        let mut crowd = Self {
            trees: (0..PEERS).map(tree).collect(),
            on_the_way: BTreeMap::new(),
            came: BTreeMap::new(),
            now: Instant::START + Duration::from_secs(1),
            rng: Rng::from_seed(seed),
        };
        for peer in 0..PEERS {
            for _ in 0..NEIGHBOURS / 2 {
                let other = (peer + 1 + crowd.rng.below(PEERS - 1)) % PEERS;
                crowd.link(peer, other);
            }
            crowd.link(peer, (peer + 1) % PEERS);
        }
        crowd
    }

    fn link(&mut self, one: u64, other: u64) {
        if self.on_the_way.insert((one, other), VecDeque::new()).is_none() {
            self.on_the_way.insert((other, one), VecDeque::new());
            for (peer, neighbour) in [(one, other), (other, one)] {
                let tree = self.trees.get_mut(&peer).unwrap();
                tree.linked(LinkId(neighbour));
                tree.measured(LinkId(neighbour), Duration::ZERO);
            }
        }
    }

    fn duplicates(&self) -> u64 {
        self.trees.values().map(|tree| tree.duplicates).sum()
    }

    fn publish(&mut self) {
        self.trees.get_mut(&0).unwrap().publish(Payload::Beacon, self.now, &mut self.rng);
        self.send(0);
    }

    fn send(&mut self, peer: u64) {
        while let Some((to, message)) = self.trees.get_mut(&peer).unwrap().poll_outgoing() {
            for link in to {
                self.on_the_way.get_mut(&(link.0, peer)).unwrap().push_back(message.clone());
            }
        }
    }

    /// Somebody, by chance, takes much of what waits on one of its links. Returns whether there was anything.
    fn turn(&mut self) -> bool {
        let waiting: Vec<(u64, u64)> =
            self.on_the_way.iter().filter(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link).collect();
        let Some((peer, from)) = self.rng.pick(waiting) else { return false };
        self.now = self.now + Duration::from_millis(self.rng.below(20));
        for _ in 0..=self.rng.below(TURN) {
            let Some(message) = self.on_the_way.get_mut(&(peer, from)).unwrap().pop_front() else { break };
            self.takes(peer, LinkId(from), message);
        }
        self.send(peer);
        true
    }

    fn takes(&mut self, peer: u64, link: LinkId, message: PeerMessage) {
        let tree = self.trees.get_mut(&peer).unwrap();
        match message {
            PeerMessage::Broadcast { id, hops, payload } => {
                if tree.note(id, self.now) {
                    *self.came.entry(peer).or_default() += 1;
                    tree.pass_on(link, id, Pushed { hops: hops + 1, payload }, self.now, &mut self.rng);
                } else {
                    tree.on_duplicate(link, id, hops + 1, self.now);
                }
            }
            PeerMessage::Prune => tree.pruned(link, self.now),
            PeerMessage::Graft(wanted) => assert!(tree.grafted(link, &wanted, self.now)),
            other => panic!("{other:?}: nobody's time has come"),
        }
    }
}

#[test]
fn convergence_in_a_crowd_hardly_anybody_is_cut_off_and_little_comes_twice() {
    let mut cut_off = Vec::new();
    for seed in 0..CROWDS {
        let mut crowd = Crowd::new(seed);
        for number in 0..BROADCASTS {
            crowd.publish();
            if number % AT_ONCE == 0 {
                let turns = crowd.rng.below(PEERS * 4);
                (0..turns).for_each(|_| _ = crowd.turn());
            }
        }
        while crowd.turn() {}
        if crowd.came.values().any(|came| *came < BROADCASTS) {
            cut_off.push(seed);
            continue;
        }
        let before = crowd.duplicates();
        for _ in 0..BROADCASTS {
            crowd.now = crowd.now + Duration::from_secs(1);
            crowd.publish();
            while crowd.turn() {}
        }
        let again = crowd.duplicates() - before;
        assert!(again <= PEERS * NEIGHBOURS, "{again} duplicates after the crowd of seed {seed}");
    }
    assert!(cut_off.len() <= CROWDS_WITH_A_CUT, "somebody would have to ask after the crowds of seeds {cut_off:?}");
}

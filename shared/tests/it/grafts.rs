//! Whom a node asks for what it misses, when, and what it gets.

use std::time::Duration;

use shared::gossip::config::Broadcast;
use shared::gossip::io::LinkId;
use shared::gossip::recent::Pushed;
use shared::gossip::tree::Tree;
use shared::rng::Rng;
use shared::time::Instant;
use shared::wire::peer::{Announced, IdRange, MessageId, Payload, PeerMessage, Source};

/// Whose broadcasts they are.
const SENDER: Source = Source(1);
/// The neighbour that pushes.
const PARENT: LinkId = LinkId(1);
/// Neighbours that only announce.
const LAZY: [LinkId; 2] = [LinkId(2), LinkId(3)];

/// A node with these neighbours, in a tree that has its shape.
struct Branching {
    tree: Tree,
    now: Instant,
    rng: Rng,
}

impl Branching {
    fn new() -> Self {
        let mut tree = Tree::new(Source(99), Broadcast::default());
        for link in [PARENT, LAZY[0], LAZY[1]] {
            tree.linked(link);
            tree.measured(link, Duration::from_millis(1));
        }
        let mut node = Self { tree, now: Instant::START + Duration::from_secs(1), rng: Rng::from_seed(1) };
        for link in LAZY {
            node.tree.pruned(link);
        }
        node.comes(1);
        node.said();
        node
    }

    fn comes(&mut self, seq: u64) {
        let id = MessageId { source: SENDER, seq };
        if self.tree.note(id, self.now) {
            let pushed = Pushed { hops: 1, payload: Payload::Beacon };
            self.tree.pass_on(PARENT, id, pushed, self.now, &mut self.rng);
        }
    }

    fn announced(&mut self, link: LinkId, first: u64, last: u64) {
        let range = IdRange { source: SENDER, first, last };
        self.tree.announced(link, &[Announced { range, hops: 1 }], self.now);
    }

    fn said(&mut self) -> Vec<(Vec<LinkId>, PeerMessage)> {
        std::iter::from_fn(|| self.tree.poll_said()).collect()
    }

    /// Lets time pass, in steps of so much, and gives whom it asked, for what, and after how many milliseconds.
    fn asks(&mut self, step: Duration, limit: Duration, slowness: Duration) -> Vec<(LinkId, u64, u64, u128)> {
        let began = self.now;
        let mut asked = Vec::new();
        while self.now - began < limit {
            self.now = self.now + step;
            self.tree.tick(self.now, slowness, &mut self.rng);
            for (to, message) in self.said() {
                if let PeerMessage::Graft(ranges) = message {
                    let ranges = ranges.into_iter().map(|range| (to[0], range.first, range.last));
                    asked.extend(ranges.map(|(to, first, last)| (to, first, last, (self.now - began).as_millis())));
                }
            }
        }
        asked
    }
}

const STEP: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_graft_at_the_end_of_what_came_asks_for_all_that_follows() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 5);
    let first = node.asks(STEP, Duration::from_millis(60), Duration::ZERO);
    assert_eq!(first, [(LAZY[0], 2, u64::MAX, 50)], "what the neighbour gets until it hears of it belongs to it, too");

    // A hole before what has come already has an end.
    let mut node = Branching::new();
    node.comes(6);
    let first = node.asks(STEP, Duration::from_millis(40), Duration::ZERO);
    assert_eq!(first, [(PARENT, 2, 5, 1)]);
}

#[test]
fn a_graft_is_answered_with_all_that_came_until_it_is_heard() {
    let mut node = Branching::new();
    (2..=9).for_each(|seq| node.comes(seq));
    node.said();
    let open = IdRange { source: SENDER, first: 3, last: u64::MAX };
    assert!(node.tree.grafted(LAZY[0], &[open], node.now), "nothing of it is lost");
    let mut pushed = Vec::new();
    for (to, message) in node.said() {
        if let PeerMessage::Broadcast { id, .. } = message {
            assert_eq!(to, [LAZY[0]]);
            pushed.push(id.seq);
        }
    }
    assert_eq!(pushed, [3, 4, 5, 6, 7, 8, 9]);
    node.comes(10);
    assert!(node.said().iter().any(|(to, _)| to.contains(&LAZY[0])), "and with all that comes later");

    let not_yet = IdRange { first: 11, ..open };
    assert!(node.tree.grafted(LAZY[0], &[not_yet], node.now), "what isn't here yet needs no reconciliation");
    node.comes(13);
    let with_a_hole = IdRange { first: 9, ..open };
    assert!(node.tree.grafted(LAZY[0], &[with_a_hole], node.now));

    node.asks(Duration::from_secs(11), Duration::from_secs(11), Duration::ZERO);
    assert!(!node.tree.grafted(LAZY[0], &[open], node.now), "what came and isn't kept any more must be reconciled");
}

#[test]
fn who_is_asked_next_is_asked_later_each_time() {
    let mut node = Branching::new();
    for link in LAZY {
        node.announced(link, 2, 5);
    }
    let asked = node.asks(STEP, LONG, Duration::ZERO);
    let times: Vec<u128> = asked.iter().map(|(_, _, _, ms)| *ms).collect();
    assert_eq!(times, [50, 100, 200, 400, 800, 1600, 2600, 3600]);
    assert!(asked.windows(2).all(|two| two[0].0 != two[1].0), "another neighbour each time");
}

#[test]
fn when_who_was_asked_is_gone_another_is_asked_at_once() {
    let mut node = Branching::new();
    for link in LAZY {
        node.announced(link, 2, 5);
    }
    let asked = node.asks(STEP, Duration::from_millis(50), Duration::ZERO);
    assert_eq!(asked, [(LAZY[0], 2, u64::MAX, 50)]);
    node.tree.unlinked(LAZY[0], node.now);
    assert_eq!(node.asks(STEP, STEP, Duration::ZERO), [(LAZY[1], 2, u64::MAX, 1)]);
}

#[test]
fn what_begins_to_come_is_waited_for() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 500);
    for seq in 2..=500 {
        assert_eq!(node.asks(STEP, Duration::from_millis(40), Duration::ZERO), [], "at {seq}");
        node.comes(seq);
    }
}

#[test]
fn liveness_who_was_held_up_reads_before_it_asks_and_is_patient_for_a_while() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 5);
    let late = Duration::from_millis(300);
    assert_eq!(node.asks(late, late, late), [], "what came meanwhile isn't read yet");
    node.announced(LAZY[0], 2, 6);
    let asked = node.asks(STEP, LONG, late);
    assert_eq!(asked[0].3, 650, "twice its own slowness more");
}

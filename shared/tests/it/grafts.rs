//! Whom a node asks for what it misses, when, and what it gets.

use std::time::Duration;

use shared::gossip::config::Broadcast;
use shared::gossip::io::LinkId;
use shared::gossip::recent::Pushed;
use shared::gossip::tree::Tree;
use shared::rng::Rng;
use shared::time::Instant;
use shared::wire::broadcast::{Announced, IdRange, MessageId, Source};
use shared::wire::peer::{Payload, PeerMessage};

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
        node.comes(1);
        for link in LAZY {
            node.pushed(link, 1);
            node.tree.pruned(link, node.now);
        }
        node.said();
        node.now = node.now + LATER;
        node
    }

    fn comes(&mut self, seq: u64) {
        self.pushed(PARENT, seq);
    }

    /// It came over this link.
    fn pushed(&mut self, link: LinkId, seq: u64) {
        self.pushed_over(link, MessageId { source: SENDER, seq }, 9);
    }

    fn pushed_over(&mut self, link: LinkId, id: MessageId, hops: u16) {
        if self.tree.note(id, self.now) {
            let pushed = Pushed { hops, payload: Payload::Beacon };
            self.tree.pass_on(link, id, pushed, self.now, &mut self.rng);
        } else {
            self.tree.on_duplicate(link, id, hops, self.now);
        }
    }

    fn announced(&mut self, link: LinkId, first: u64, last: u64) {
        self.announced_of(SENDER, link, first, last);
    }

    fn announced_of(&mut self, source: Source, link: LinkId, first: u64, last: u64) {
        let announced = Announced { range: IdRange { source, first, last }, hops: 1 };
        self.tree.announced(link, &[announced], self.now, &mut self.rng);
    }

    fn said(&mut self) -> Vec<(Vec<LinkId>, PeerMessage)> {
        std::iter::from_fn(|| self.tree.poll_outgoing()).collect()
    }

    fn said_to(&mut self, link: LinkId) -> Vec<PeerMessage> {
        self.said().into_iter().filter(|(to, _)| to.contains(&link)).map(|(_, message)| message).collect()
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
/// After it, what was on its way has come.
const LATER: Duration = Duration::from_millis(51);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_graft_at_the_end_of_what_came_asks_for_all_that_follows() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 5);
    let first = node.asks(STEP, Duration::from_millis(100), Duration::ZERO);
    let [(LinkId(2), 2, u64::MAX, 50..=100)] = first[..] else {
        panic!("{first:?}: what the neighbour gets until it hears of it belongs to it, too")
    };

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
    assert!((50..=100).contains(&asked[0].3), "{asked:?}");
    let pauses: Vec<u128> = asked.windows(2).map(|two| two[1].3 - two[0].3).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    assert!(asked.windows(2).all(|two| two[0].0 != two[1].0), "another neighbour each time");
}

#[test]
fn when_who_was_asked_is_gone_another_is_asked_at_once() {
    let mut node = Branching::new();
    for link in LAZY {
        node.announced(link, 2, 5);
    }
    let (link, first, last, _) = (0..100).find_map(|_| node.asks(STEP, STEP, Duration::ZERO).pop()).unwrap();
    assert_eq!((link, first, last), (LAZY[0], 2, u64::MAX));
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
    assert!((650..=1300).contains(&asked[0].3), "{}: twice its own slowness more", asked[0].3);
}

#[test]
fn of_many_that_miss_the_same_some_ask_much_sooner_than_others() {
    let mut waits = Vec::new();
    for seed in 0..100 {
        let mut node = Branching::new();
        node.rng = Rng::from_seed(seed);
        node.announced(LAZY[0], 2, 2);
        waits.push(node.asks(STEP, Duration::from_millis(102), Duration::ZERO)[0].3);
    }
    waits.sort_unstable();
    assert!(waits[0] < 55 && waits[99] > 95, "from {} to {} ms", waits[0], waits[99]);
}

#[test]
fn what_several_neighbours_have_is_asked_of_one() {
    let mut node = Branching::new();
    for source in 10..20 {
        let both = if source % 2 == 0 { LAZY } else { [LAZY[1], LAZY[0]] };
        for link in both {
            node.announced_of(Source(source), link, 1, 1);
        }
    }
    let asked = node.asks(STEP, Duration::from_millis(105), Duration::ZERO);
    assert_eq!(asked.len(), 10);
    assert!(asked.iter().all(|(link, ..)| *link == asked[0].0), "{asked:?}");
}

/// A node that has just taken a nearer neighbour in the place of its parent.
fn handed_over() -> Branching {
    let mut node = Branching::new();
    node.pushed(PARENT, 2);
    node.said();
    node.announced(LAZY[0], 2, 2);
    let said = node.said();
    assert!(said.contains(&(vec![LAZY[0]], PeerMessage::Graft(Vec::new()))), "{said:?}");
    assert!(said.contains(&(vec![PARENT], PeerMessage::Prune)), "{said:?}");
    node
}

#[test]
fn convergence_what_passed_the_new_parent_before_it_heard_of_that_is_asked_for_at_once() {
    let mut node = handed_over();
    node.announced(LAZY[0], 3, 4);
    assert_eq!(node.asks(STEP, STEP, Duration::ZERO), [(LAZY[0], 3, u64::MAX, 1)]);
}

#[test]
fn convergence_what_the_new_parent_had_announced_already_is_asked_for_at_once() {
    let mut node = Branching::new();
    node.pushed(PARENT, 2);
    for source in [7, 8] {
        node.announced_of(Source(source), LAZY[0], 1, 1);
    }
    assert_eq!(node.asks(STEP, STEP, Duration::ZERO), []);
    node.announced(LAZY[0], 2, 2);
    node.said();
    node.tree.tick(node.now, Duration::ZERO, &mut node.rng);
    let both = [7, 8].map(|source| IdRange { source: Source(source), first: 1, last: u64::MAX });
    assert_eq!(node.said(), [(vec![LAZY[0]], PeerMessage::Graft(both.to_vec()))], "for both, in one message");
}

#[test]
fn convergence_what_was_on_its_way_from_the_old_parent_doesnt_cost_the_new_one() {
    let mut node = handed_over();
    node.tree.pruned(PARENT, node.now);
    node.pushed(PARENT, 3);
    node.pushed(LAZY[0], 3);
    assert!(!node.said().iter().any(|(_, message)| *message == PeerMessage::Prune), "neither pushes any more");
    assert_eq!(node.tree.eager().collect::<Vec<_>>(), [LAZY[0]], "and the old one is no parent again");
    node.now = node.now + LATER;
    node.pushed(LAZY[0], 4);
    node.pushed(LAZY[1], 4);
    assert_eq!(node.said_to(LAZY[1]), [PeerMessage::Prune], "who hasn't heard that it is to cease is told again");
}

/// A node that a second neighbour pushes to as well.
fn fed_by_two() -> Branching {
    let mut node = Branching::new();
    assert!(node.tree.grafted(LAZY[0], &[], node.now));
    let again = PeerMessage::Graft(Vec::new());
    assert_eq!(node.said(), [(vec![LAZY[0]], again)], "a tree for all sources needs both ways");
    node
}

#[test]
fn of_two_ways_the_longer_is_pruned_whichever_was_quicker() {
    let id = MessageId { source: SENDER, seq: 2 };
    for (quick, slow, pruned) in [(9, 8, LAZY[0]), (8, 9, PARENT), (8, 8, PARENT)] {
        let mut node = fed_by_two();
        node.pushed_over(LAZY[0], id, quick);
        node.said();
        node.pushed_over(PARENT, id, slow);
        assert_eq!(node.said(), [(vec![pruned], PeerMessage::Prune)], "{quick} hops first, then {slow}");
    }
}

#[test]
fn convergence_who_alone_feeds_a_node_isnt_pruned() {
    let mut node = Branching::new();
    node.pushed(LAZY[0], 2);
    node.said();
    node.pushed(PARENT, 2);
    assert_eq!(node.said(), [], "the first copy was the last of a neighbour that was told to cease");
}

#[test]
fn who_feeds_a_node_and_refuses_it_is_asked_again_later() {
    let mut node = Branching::new();
    node.tree.pruned(PARENT, node.now);
    node.comes(2);
    assert_eq!(node.said_to(PARENT), []);
    node.now = node.now + LATER;
    node.comes(3);
    node.comes(4);
    assert_eq!(node.said_to(PARENT), [PeerMessage::Graft(Vec::new())]);
}

#[test]
fn only_who_has_where_a_gap_begins_is_asked() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 3);
    node.announced(LAZY[1], 2, 9);
    (2..=5).for_each(|seq| node.comes(seq));
    let asked = node.asks(STEP, LONG, Duration::ZERO);
    assert!(!asked.is_empty() && asked.iter().all(|(link, ..)| *link == LAZY[1]), "{asked:?}");
}

#[test]
fn while_more_neighbours_get_it_a_node_waits() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 2);
    assert_eq!(node.asks(STEP, Duration::from_millis(45), Duration::ZERO), []);
    node.announced(LAZY[1], 2, 2);
    let asked = node.asks(STEP, Duration::from_millis(102), Duration::ZERO);
    assert!(asked[0].3 >= 50, "{asked:?}");
}

#[test]
fn much_is_waited_for_longer() {
    let mut node = Branching::new();
    node.announced(LAZY[0], 2, 1001);
    let asked = node.asks(STEP, LONG, Duration::ZERO);
    assert!((300..=351).contains(&asked[0].3), "{:?}: a quarter of a second more", asked[0]);
}

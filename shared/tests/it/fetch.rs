//! Fetching, in virtual time: contents arrive whole or it is told why not, whatever sources do; what is asked of whom keeps
//! to its rules (looked at in [`net`], at each step); and what few have spreads fast and leaves them about once. A failure
//! prints its seed and the command that replays it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use shared::content::io::{Fault, Lack, State};
use shared::ids::ManifestHash;
use shared::rng::Rng;
use shared::time::Instant;

use crate::seeds::seeds;

mod anything;
mod content;
mod net;

use content::{Content, random_chunks};
use net::{Net, Vice};

/// Seeds that each run of the tests tries.
const SEEDS: u64 = 1000;
/// Bytes a second, as of a usual network.
const UP: u64 = 100_000_000;
const LATENCY: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn all_done(net: &Net, nodes: impl IntoIterator<Item = usize>, name: ManifestHash) -> bool {
    nodes.into_iter().all(|node| net.is_done(node, name))
}

/// How many percent a part is.
fn percent(part: u64, whole: u64) -> u64 {
    part * 100 / whole
}

/// Runs seeds; `test` is the name of the test that replays one.
fn check(test: &str, run: impl Fn(u64)) {
    for seed in seeds(SEEDS) {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
        assert!(outcome.is_ok(), "seed {seed}; replay with GRAPEVINE_SEED={seed} cargo test -p shared {test}");
    }
}

/// A vice, more or less probable.
fn vice(rng: &mut Rng) -> Vice {
    let moment = at(rng.below(3000));
    match rng.below(8) {
        0 => Vice::Lies { one_of: 1 + rng.below(50) },
        1 => Vice::Silent { from: moment },
        2 => Vice::Vanishes { at: moment },
        3 => Vice::Full { until: moment },
        4 => Vice::GivesUp { at: moment },
        _ => Vice::None,
    }
}

/// Any peers, connected anyhow, with any vices but for the last, which is honest, has everything and stays: who wants the
/// content gets it, whole.
fn chaos(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let count = usize::try_from(3 + rng.below(6)).unwrap();
    let up = 1_000_000 << rng.below(8);
    let mut net = Net::new(seed, count, up, Duration::from_micros(100 + rng.below(50_000)));
    net.finds = true;
    let origin = count - 1;
    let content = Content::random(seed, 1 + u32::try_from(rng.below(200)).unwrap());
    let spare = Content::new(content.chunks.clone());
    let name = net.publish(origin, content);
    for node in 0..origin {
        let vice = vice(&mut rng);
        net.give_vice(node, vice);
        net.nodes[node].up = up / (1 + rng.below(20));
    }
    // Some have it from before.
    if rng.chance(1, 2) {
        net.publish(0, spare);
    }
    for _ in 0..count * 2 {
        let (a, b) = (rng.pick(0..count).unwrap(), rng.pick(0..count).unwrap());
        net.connect(a, b);
    }
    let honest: Vec<_> = (0..origin).filter(|node| net.nodes[*node].vice == Vice::None).collect();
    for node in 0..origin {
        if net.nodes[node].holds.is_empty() {
            net.want(node, name);
        }
    }
    let wanting: Vec<_> = honest.into_iter().filter(|node| net.state(*node, name).is_some()).collect();
    let is_whole = net.run_until(Duration::from_mins(20), |net| all_done(net, wanting.iter().copied(), name));
    let states: Vec<_> = wanting.iter().map(|node| net.state(*node, name)).collect();
    assert!(is_whole, "seed {seed}: {states:?} after {:?}", net.now);
}

#[test]
fn fetch_brings_everything_from_whoever_is_bad_while_one_is_good() {
    check("while_one_is_good", chaos);
}

/// The only one who has it vanishes, or gives it up: who hasn't got it says that there is no source, and who has has all.
fn orphans(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let count = usize::try_from(2 + rng.below(5)).unwrap();
    let mut net = Net::new(seed, count, 1 << 20, LATENCY);
    let name = net.publish(0, Content::random(seed, 100));
    let end = at(rng.below(20_000));
    net.give_vice(0, if rng.chance(1, 2) { Vice::Vanishes { at: end } } else { Vice::GivesUp { at: end } });
    net.connect_all();
    (1..count).for_each(|node| net.want(node, name));
    net.run_until(Duration::from_mins(5), |_| false);
    let are_done = (1..count).filter(|node| net.is_done(*node, name)).count();
    assert!(are_done == 0 || are_done == count - 1, "seed {seed}: {are_done} of {count} have it");
    for node in (1..count).filter(|node| !net.is_done(*node, name)) {
        let state = net.state(node, name);
        assert!(matches!(state, Some(State::NoSource(_))), "seed {seed}: {state:?}");
        assert!(net.nodes[node].seeks >= 4, "seed {seed}: it doesn't seek any more");
    }
}

#[test]
fn fetch_says_that_there_is_no_source_where_nobody_has_all() {
    check("where_nobody_has_all", orphans);
}

/// Versions follow each other while they are fetched: the last one arrives, and what they have in common comes once.
fn versions(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut net = Net::new(seed, 4, 20 << 20, LATENCY);
    net.connect_all();
    let mut chunks = random_chunks(seed, 300);
    let mut last = None;
    for version in 0..4_u64 {
        let name = net.publish(3, Content::new(chunks.clone()));
        for node in 0..3 {
            if let Some(former) = last {
                net.forget(node, former);
            }
            net.want(node, name);
        }
        last = Some(name);
        net.run_until(Duration::from_millis(rng.below(1500)), |_| false);
        let place = usize::try_from(rng.below(290)).unwrap();
        chunks.splice(place..place + 5, random_chunks(seed ^ (version << 32), 7));
    }
    let name = last.unwrap();
    assert!(net.run_until(Duration::from_mins(1), |net| all_done(net, 0..3, name)), "seed {seed}");
    let chunks = net.contents.values().flat_map(|content| &content.chunks);
    let ever: BTreeSet<_> = chunks.map(|chunk| (chunk.hash, chunk.len_bytes)).collect();
    let ever: u64 = ever.iter().map(|(_, len)| u64::from(*len)).sum();
    for node in 0..3 {
        let got = net.nodes[node].got;
        // A request that is cancelled may be on its way.
        assert!(got <= ever + (12 << 20), "seed {seed}: {got} of {ever}");
    }
}

#[test]
fn fetch_brings_of_versions_that_follow_each_other_what_is_new() {
    check("what_is_new", versions);
}

#[test]
fn a_content_leaves_its_source_about_once() {
    for (seed, chunks, limit) in [(1, 1000, 150), (2, 8000, 125), (3, 200, 150)] {
        let mut net = Net::new(seed, 9, UP, LATENCY);
        let name = net.publish(0, Content::random(seed, chunks));
        net.connect_all();
        (1..9).for_each(|node| net.want(node, name));
        assert!(net.run_until(Duration::from_mins(5), |net| all_done(net, 1..9, name)));
        let size = net.contents[&name].size_bytes;
        let (copies, ideal) = (percent(net.nodes[0].sent, size), Duration::from_micros(size * 1_000_000 / UP));
        println!("{chunks} chunks: {copies} % of it sent by the source, {:?} (sent once: {ideal:?})", net.now);
        assert!(copies <= limit, "{copies} %");
        assert!(net.now - Instant::START < ideal * 2, "{:?}", net.now);
        for node in 1..9 {
            assert!(percent(net.nodes[node].got, size) <= 101);
        }
    }
}

#[test]
fn a_content_leaves_its_source_about_once_where_not_all_are_its_neighbours() {
    let mut net = Net::new(5, 16, UP, LATENCY);
    let name = net.publish(0, Content::random(5, 2000));
    for node in 0..16 {
        for step in [1, 3, 7] {
            net.connect(node, (node + step) % 16);
        }
    }
    (1..16).for_each(|node| net.want(node, name));
    assert!(net.run_until(Duration::from_mins(5), |net| all_done(net, 1..16, name)));
    let size = net.contents[&name].size_bytes;
    let copies = percent(net.nodes[0].sent, size);
    println!("16 peers, 6 neighbours each: {copies} % sent by the source, {:?}", net.now);
    assert!(copies <= 200, "{copies} %");
}

#[test]
fn a_content_streams_through_a_chain() {
    let mut net = Net::new(6, 5, UP, LATENCY);
    let name = net.publish(0, Content::random(6, 2000));
    (0..4).for_each(|node| net.connect(node, node + 1));
    (1..5).for_each(|node| net.want(node, name));
    assert!(net.run_until(Duration::from_mins(5), |net| all_done(net, 1..5, name)));
    let when = |node: usize| net.nodes[node].states[&name].1;
    let ideal = Duration::from_micros(net.contents[&name].size_bytes * 1_000_000 / UP);
    println!("chain: first {:?}, last {:?}, ideal {ideal:?}", when(1), when(4));
    assert!(when(4) - when(1) <= Duration::from_millis(150), "the last one has it {:?} later", when(4) - when(1));
    assert!(when(4) - Instant::START < ideal * 5 / 4);
    assert_eq!(percent(net.nodes[0].sent, net.contents[&name].size_bytes), 100);
}

#[test]
fn who_comes_late_fetches_from_all_who_have_it() {
    let mut net = Net::new(7, 6, UP / 5, LATENCY);
    let content = Content::random(7, 1000);
    let others: Vec<_> = (0..4).map(|_| Content::new(content.chunks.clone())).collect();
    let name = net.publish(0, content);
    (1..5).zip(others).for_each(|(node, content)| {
        net.publish(node, content);
    });
    net.connect_all();
    net.want(5, name);
    assert!(net.run_until(Duration::from_mins(5), |net| net.is_done(5, name)));
    let ideal = Duration::from_micros(net.contents[&name].size_bytes * 1_000_000 / UP);
    assert!(net.now - Instant::START < ideal * 5 / 4, "{:?} instead of {ideal:?}", net.now);
}

#[test]
fn a_liar_is_left_at_once_and_for_good() {
    let mut net = Net::new(8, 3, UP, LATENCY);
    net.finds = true;
    let content = Content::random(8, 500);
    let copy = Content::new(content.chunks.clone());
    let name = net.publish(0, content);
    net.publish(1, copy);
    net.give_vice(1, Vice::Lies { one_of: 1 });
    net.connect_all();
    net.want(2, name);
    assert!(net.run_until(Duration::from_mins(1), |net| net.is_done(2, name)));
    let liar = net.nodes[1].peer;
    assert_eq!(net.nodes[2].left, [(liar, Fault::Lied)]);
    net.connect(1, 2);
    assert_eq!(net.nodes[2].left, [(liar, Fault::Lied), (liar, Fault::Lied)], "it comes back");
}

#[test]
fn who_says_nothing_for_two_seconds_is_left_and_its_chunks_come_from_others() {
    let mut net = Net::new(9, 3, 2_000_000, LATENCY);
    let content = Content::random(9, 300);
    let copy = Content::new(content.chunks.clone());
    let name = net.publish(0, content);
    net.publish(1, copy);
    net.give_vice(1, Vice::Silent { from: at(1000) });
    net.connect_all();
    net.want(2, name);
    assert!(net.run_until(Duration::from_mins(1), |net| !net.nodes[2].left.is_empty()));
    assert_eq!(net.nodes[2].left, [(net.nodes[1].peer, Fault::Silent)]);
    assert!((at(3000)..at(3200)).contains(&net.now), "{:?}", net.now);
    assert!(net.run_until(Duration::from_mins(1), |net| net.is_done(2, name)));
}

#[test]
fn who_is_slow_rests_unless_it_alone_has_what_is_missing() {
    let mut net = Net::new(10, 3, 10_000_000, LATENCY);
    let content = Content::random(10, 1500);
    let copy = Content::new(content.chunks.clone());
    let name = net.publish(0, content);
    net.publish(1, copy);
    net.nodes[1].up = 100_000;
    net.connect_all();
    net.want(2, name);
    assert!(net.run_until(Duration::from_mins(1), |net| net.is_done(2, name)));
    let slow = net.nodes[1].sent;
    println!("the slow one sent {slow} bytes; done after {:?}", net.now);
    assert!(net.now < at(11_500) && slow < 1_000_000, "{slow} bytes, {:?}", net.now);
    let alone = net.publish(1, Content::random(11, 20));
    net.want(2, alone);
    assert!(net.run_until(Duration::from_secs(30), |net| net.is_done(2, alone)));
}

#[test]
fn small_contents_overtake_and_large_ones_go_on() {
    let mut net = Net::new(12, 2, 10_000_000, LATENCY);
    net.connect_all();
    let large = net.publish(0, Content::random(12, 2000));
    net.want(1, large);
    net.run_until(Duration::from_millis(500), |_| false);
    let mut small = Vec::new();
    for number in 0..6 {
        small.push(net.publish(0, Content::random(100 + number, 100)));
        net.want(1, small[small.len() - 1]);
    }
    let (began, before) = (net.now, net.nodes[1].holds[&large].count());
    assert!(net.run_until(Duration::from_mins(1), |net| small.iter().any(|name| net.is_done(1, *name))));
    assert!(net.now - began < Duration::from_secs(2), "the first after {:?}", net.now - began);
    assert!(net.run_until(Duration::from_mins(1), |net| small.iter().all(|name| net.is_done(1, *name))));
    let meanwhile = net.nodes[1].holds[&large].count() - before;
    assert!((600 / 20..600 / 8).contains(&meanwhile), "{meanwhile} chunks of the large one, and 600 of small ones");
}

#[test]
fn many_small_contents_take_few_round_trips() {
    let mut net = Net::new(13, 2, UP, Duration::from_millis(10));
    net.connect_all();
    let names: Vec<_> = (0..500).map(|number| net.publish(0, Content::random(1000 + number, 1))).collect();
    for name in &names {
        net.want(1, *name);
    }
    assert!(net.run_until(Duration::from_mins(1), |net| names.iter().all(|name| net.is_done(1, *name))));
    println!("500 small contents: {:?}", net.now);
}

#[test]
fn what_doesnt_fit_waits_and_goes_on_by_itself() {
    let mut net = Net::new(14, 2, UP, LATENCY);
    net.connect_all();
    let (large, small) = (net.publish(0, Content::random(14, 500)), net.publish(0, Content::random(15, 50)));
    net.room(1, 10 << 20);
    net.want(1, large);
    net.want(1, small);
    assert!(net.run_until(Duration::from_secs(5), |net| net.is_done(1, small)));
    assert_eq!(net.state(1, large), Some(&State::NoRoom));
    net.room(1, 1 << 30);
    net.run_until(Duration::from_millis(100), |_| false);
    assert_eq!(net.state(1, large), Some(&State::Fetching));
    net.room(1, 1 << 20);
    assert_eq!(net.state(1, large), Some(&State::NoRoom), "the disk has filled up meanwhile");
    net.room(1, 1 << 30);
    assert!(net.run_until(Duration::from_secs(5), |net| net.is_done(1, large)));
}

#[test]
fn nobody_is_told_from_who_has_not_got_it_and_from_who_gave_it_up() {
    let mut net = Net::new(16, 3, UP, LATENCY);
    let name = net.publish(0, Content::random(16, 100));
    net.want(1, name);
    assert_eq!(net.state(1, name), Some(&State::NoSource(Lack::Nobody)));
    net.connect(1, 2);
    net.run_until(Duration::from_secs(5), |_| false);
    assert_eq!(net.state(1, name), Some(&State::NoSource(Lack::Incomplete)));
    net.give_vice(0, Vice::GivesUp { at: net.now + Duration::from_millis(20) });
    net.connect(1, 0);
    net.run_until(Duration::from_secs(5), |_| false);
    assert_eq!(net.state(1, name), Some(&State::NoSource(Lack::GivenUp)));
}

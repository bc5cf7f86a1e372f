//! Changes that no honest peer makes, and numbers of broadcasts that no honest peer uses.

use std::sync::Arc;
use std::time::Duration;

use shared::gossip::config::{Broadcast, Config, Limits, Retention};
use shared::gossip::io::{Input, NodeEvent, Output};
use shared::gossip::reason::Refusal;
use shared::ids::Version;
use shared::stamp::Stamp;
use shared::wire::broadcast::{Announced, IdRange, Source};
use shared::wire::frame;
use shared::wire::peer::{Hello, Incarnation, MAX_RANGES, Payload, PeerMessage, Presence, Purpose};
use shared::wire::update::FileUpdate;

use super::stage::{BEGAN_MS, Stage, broadcast, bytes, hello, news, offences, own_addr, peer, sent, unknown, update};

/// The three ways in which a change comes: as news, as a page of a catalogue, from a client. Returns why each was
/// refused.
fn refusals(stage: &mut Stage, update: &FileUpdate) -> Vec<Refusal> {
    let (link, client) = (stage.neighbour(5), stage.client(6));
    let mut outputs = stage.say(link, news(5, 1, update.clone()));
    outputs.extend(stage.say(link, PeerMessage::State { entries: vec![Arc::new(update.clone())], rest: None }));
    let answers = stage.say(client, PeerMessage::Submit { request: 3, update: Arc::new(update.clone()) });
    let is_answer = |message: &PeerMessage| {
        matches!(message, PeerMessage::Refused { request: 3, .. } | PeerMessage::Deferred { request: 3, .. })
    };
    assert!(sent(&answers).any(|(_, message)| is_answer(message)));
    outputs.extend(answers);
    assert_eq!(stage.node.catalogue().of_file(&update.file), None);
    let reason = |output: &Output| match output {
        Output::Event(NodeEvent::Rejected { reason, .. }) => Some(*reason),
        _ => None,
    };
    outputs.iter().filter_map(reason).collect()
}

#[test]
fn a_stamp_from_the_future_keeps_no_change_back_and_a_wrong_clock_is_told_once_while_it_lasts() {
    let ahead = u64::try_from(Limits::default().future.as_millis()).unwrap();
    let stamped = |file: &str, wall_ms: u64| FileUpdate { stamp: Stamp(wall_ms << 16), ..update(file, 1) };
    let told = |outputs: &[Output]| {
        let clocks = outputs.iter().filter_map(|output| match output {
            Output::Event(NodeEvent::ClockWrong { .. }) => Some(true),
            Output::Event(NodeEvent::ClocksAgree) => Some(false),
            _ => None,
        });
        clocks.collect::<Vec<bool>>()
    };
    let mut stage = Stage::new(Config::default());
    let (link, client) = (stage.neighbour(5), stage.client(6));
    assert_eq!(told(&stage.say(link, news(5, 1, stamped("just", BEGAN_MS + ahead)))), [false; 0]);
    assert_eq!(told(&stage.say(link, news(5, 2, stamped("pushed", BEGAN_MS + 2 * ahead)))), [true]);
    let last = Arc::new(stamped("submitted", u64::MAX >> 16));
    let answers = stage.say(client, PeerMessage::Submit { request: 3, update: last });
    assert!(
        !sent(&answers)
            .any(|(_, message)| matches!(message, PeerMessage::Deferred { .. } | PeerMessage::Refused { .. }))
    );
    assert_eq!((told(&answers), stage.node.catalogue().len()), (Vec::new(), 3));
    // Its time comes, or nobody makes another of that kind.
    assert_eq!(told(&stage.pass(Duration::from_millis(2 * ahead))), [false]);
    stage.check_it_still_works();
}

#[test]
fn a_clock_that_is_set_counts_from_then_on() {
    let mut stage = Stage::new(Config::default());
    let ahead = u64::try_from(Limits::default().future.as_millis()).unwrap();
    let link = stage.neighbour(5);
    stage.feed(Input::Clock { wall_ms: BEGAN_MS + 2 * ahead });
    let outputs =
        stage.say(link, news(5, 1, FileUpdate { stamp: Stamp((BEGAN_MS + 3 * ahead) << 16), ..update("f", 1) }));
    let is_told = |output: &Output| matches!(output, Output::Event(NodeEvent::ClockWrong { .. }));
    assert!(!outputs.iter().any(is_told));
}

#[test]
fn a_version_that_jumps_is_refused_whichever_way_it_comes() {
    for version in [Limits::default().version_step + 1, Version::MAX.0] {
        let mut stage = Stage::new(Config::default());
        assert_eq!(refusals(&mut stage, &update("f", version)), [Refusal::VersionJump; 3]);
        let honest = stage.honest();
        stage.say(honest, news(7, 1, update("f", 2)));
        let known = stage.node.catalogue().of_file(&"f".parse().unwrap()).unwrap().version;
        assert_eq!(known, Version(2), "the file can still be changed");
        stage.check_it_still_works();
    }
}

#[test]
fn bounded_memory_files() {
    let limits = Limits { files: 100, ..Limits::default() };
    let mut stage = Stage::new(Config { limits, ..Config::default() });
    stage.check_it_still_works();
    let link = stage.neighbour(5);
    for number in 0..1000 {
        stage.say(link, news(5, number + 1, update(&format!("f{number}"), 1)));
    }
    assert_eq!(stage.node.catalogue().len(), 100);
    stage.say(link, news(5, 2000, update("honest-1", 2)));
    let known = stage.node.catalogue().of_file(&"honest-1".parse().unwrap()).unwrap().version;
    assert_eq!(known, Version(2), "files that are known go on being changed");
}

/// A node that remembers little of broadcasts, an attacker, and whether what it says is passed on: it is, if the node
/// takes it to be new.
struct Numbers {
    stage: Stage,
    link: shared::gossip::io::LinkId,
}

impl Numbers {
    fn new(broadcast: Broadcast) -> Self {
        let mut stage = Stage::new(Config { broadcast, ..Config::default() });
        let link = stage.neighbour(5);
        Self { stage, link }
    }

    fn is_new(&mut self, source: u64, seq: u64) -> bool {
        let outputs = self.stage.say(self.link, broadcast(source, seq, Payload::Suspect(peer(77).into())));
        sent(&outputs).any(|(to, message)| to != [self.link] && matches!(message, PeerMessage::Broadcast { .. }))
    }
}

#[test]
fn bounded_memory_sources() {
    let mut numbers = Numbers::new(Broadcast { sources: 8, ..Broadcast::default() });
    assert!(numbers.is_new(1, 1));
    assert!(!numbers.is_new(1, 1));
    for source in 2..100 {
        numbers.stage.pass(Duration::from_millis(1));
        assert!(numbers.is_new(source, 1));
    }
    assert!(!numbers.is_new(99, 1));
    assert!(numbers.is_new(1, 1), "a source of long ago is still remembered");
    numbers.stage.check_it_still_works();
}

#[test]
fn bounded_memory_gaps() {
    let mut numbers = Numbers::new(Broadcast { gaps: 8, ..Broadcast::default() });
    for seq in 1..=50 {
        assert!(numbers.is_new(1, 2 * seq));
    }
    assert!(!numbers.is_new(1, 1), "an old gap is still remembered");
    assert!(numbers.is_new(1, 99));
    numbers.stage.check_it_still_works();
}

#[test]
fn bounded_memory_broadcasts_that_are_kept() {
    let kept = Retention { count: 8, ..Broadcast::default().kept };
    let mut numbers = Numbers::new(Broadcast { kept, ..Broadcast::default() });
    for seq in 1..=50 {
        assert!(numbers.is_new(1, seq));
    }
    let mut pushed = |first, last| {
        let graft = PeerMessage::Graft(vec![IdRange { source: Source(1), first, last }]);
        let outputs = numbers.stage.say(numbers.link, graft);
        sent(&outputs).filter(|(_, message)| matches!(message, PeerMessage::Broadcast { .. })).count()
    };
    assert_eq!(pushed(0, u64::MAX), 8);
    assert_eq!(pushed(1, 42), 0, "an old broadcast is still kept");
    numbers.stage.check_it_still_works();
}

#[test]
fn what_only_newer_peers_know_is_passed_on_once_given_to_who_asks_and_not_stored() {
    let mut stage = Stage::new(Config::default());
    let (teller, other) = (stage.neighbour(5), stage.neighbour(6));
    let said = unknown(5, 1);
    let passed_on = |outputs: &[Output]| {
        let bytes = |message: &PeerMessage| frame::encode(message).unwrap();
        let PeerMessage::Broadcast { id, payload, .. } = said.clone() else { panic!("{said:?}") };
        let expected = bytes(&PeerMessage::Broadcast { id, hops: 1, payload });
        sent(outputs).filter(|(to, message)| to.contains(&other) && bytes(message) == expected).count()
    };
    let outputs = stage.say(teller, said.clone());
    assert_eq!(passed_on(&outputs), 1, "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Persist { .. })));
    assert_eq!(passed_on(&stage.say(teller, said.clone())), 0);
    let graft = PeerMessage::Graft(vec![IdRange { source: Source(5), first: 1, last: 1 }]);
    assert_eq!(passed_on(&stage.say(other, graft.clone())), 1);
    stage.pass(Broadcast::default().kept.time + Duration::from_secs(1));
    assert_eq!(passed_on(&stage.say(other, graft)), 0);
}

#[test]
fn bounded_output_of_one_graft() {
    let mut numbers = Numbers::new(Broadcast::default());
    let kept = u64::try_from(Broadcast::default().kept.count).unwrap();
    for seq in 1..=kept {
        assert!(numbers.is_new(1, seq));
    }
    let everything = IdRange { source: Source(1), first: 0, last: u64::MAX };
    let outputs = numbers.stage.say(numbers.link, PeerMessage::Graft(vec![everything; MAX_RANGES]));
    let pushed = sent(&outputs).count();
    assert!(pushed <= Broadcast::default().kept.count + 8, "{pushed} messages, {} bytes", bytes(&outputs));
    numbers.stage.check_it_still_works();
}

#[test]
fn bounded_output_of_many_grafts_at_once() {
    let mut numbers = Numbers::new(Broadcast::default());
    for seq in 1..=1000 {
        assert!(numbers.is_new(1, seq));
    }
    let everything = IdRange { source: Source(1), first: 1, last: 1000 };
    let outputs = numbers.stage.say_all(numbers.link, vec![PeerMessage::Graft(vec![everything]); 256]);
    assert_eq!(offences(&outputs), ["too much asked at once"]);
    assert!(outputs.len() <= 20_000, "{} outputs", outputs.len());
    numbers.stage.check_it_still_works();
}

#[test]
fn numbers_at_the_ends_of_their_range_harm_nothing() {
    for seqs in [vec![0], vec![u64::MAX], vec![u64::MAX, 1, u64::MAX], vec![1, u64::MAX, u64::MAX - 1, 2]] {
        let mut numbers = Numbers::new(Broadcast::default());
        for seq in &seqs {
            numbers.is_new(1, *seq);
            numbers.stage.say(numbers.link, news(1, *seq, update("f", 1)));
        }
        numbers.stage.pass(Duration::from_secs(10));
        for (first, last) in [(0, 0), (0, u64::MAX), (5, 1), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
            let range = IdRange { source: Source(1), first, last };
            numbers.stage.say(numbers.link, PeerMessage::IHave(vec![Announced { range, hops: u16::MAX }]));
            numbers.stage.say(numbers.link, PeerMessage::Graft(vec![range]));
            numbers.stage.pass(Duration::from_secs(10));
        }
        numbers.stage.check_it_still_works();
    }
}

#[test]
fn who_stands_by_puts_off_what_clients_bring_until_the_other_is_known_to_be_gone() {
    let mut stage = Stage::new(Config::default());
    let life = Incarnation { started: 1, source: Source(1) };
    let presence = Some(Presence { life, sees: own_addr() });
    stage.greet(7, Hello { peer: peer(0), presence, ..hello(7, Purpose::Join) });
    // It has begun to look whether the older one still answers, and takes links meanwhile.
    stage.pass(Duration::from_secs(61));
    let client = stage.client(6);
    let submit = || PeerMessage::Submit { request: 3, update: Arc::new(update("f", 1)) };
    let is_answered =
        |outputs: &[Output], wanted: fn(&PeerMessage) -> bool| sent(outputs).any(|(_, said)| wanted(said));
    let answers = stage.say(client, submit());
    assert!(is_answered(&answers, |said| matches!(said, PeerMessage::Deferred { request: 3, .. })), "{answers:?}");
    assert_eq!(stage.node.catalogue().len(), 0);
    stage.fail_dials();
    stage.pass(Duration::from_secs(10));
    let answers = stage.say(client, submit());
    assert!(is_answered(&answers, |said| matches!(said, PeerMessage::Accepted { request: 3 })), "{answers:?}");
}

#[test]
fn hops_at_their_end_harm_nothing() {
    let mut numbers = Numbers::new(Broadcast::default());
    for (seq, hops) in [(1, u16::MAX), (2, u16::MAX - 1)] {
        let id = shared::wire::broadcast::MessageId { source: Source(1), seq };
        let payload = Payload::Update(Arc::new(update("f", seq)));
        numbers.stage.say(numbers.link, PeerMessage::Broadcast { id, hops, payload });
    }
    numbers.stage.check_it_still_works();
}

#[test]
fn bounded_output_of_announcements_that_are_lies() {
    let mut numbers = Numbers::new(Broadcast::default());
    for round in 0..200 {
        let range = |n| IdRange { source: Source(round * 100 + n), first: 1, last: u64::MAX - n };
        let all = (0..64).map(|n| Announced { range: range(n), hops: 0 }).collect();
        numbers.stage.say(numbers.link, PeerMessage::IHave(all));
    }
    let outputs = numbers.stage.pass(Duration::from_mins(1));
    let grafts = sent(&outputs).filter(|(_, message)| matches!(message, PeerMessage::Graft(_))).count();
    // 8 questions for each gap that is remembered.
    assert!(grafts <= 8 * Broadcast::default().gaps, "{grafts} grafts");
    numbers.stage.check_it_still_works();
}

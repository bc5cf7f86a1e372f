//! Reconciliation with somebody who claims what can't be, wants everything many times, or never comes to an end.

use std::sync::Arc;
use std::time::Duration;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::config::Config;
use shared::gossip::io::{LinkId, Output};
use shared::gossip::ledger::EVERYTHING;
use shared::gossip::reconcile::initial_claim;
use shared::wire::peer::{
    Claim, Fingerprint, Key, MAX_CLAIMS, MAX_ENTRIES, MAX_WANTED, PeerMessage, Prefix, Set, Wanted,
};

use super::stage::{Stage, bytes, sent, update};

/// Wishes that a node has under way at once.
const WINDOW: usize = MAX_WANTED;
/// Wishes that wait.
const MAX_WISHES: usize = 4096;
/// What one message may make a node say, in bytes.
const OUTPUT_MAX: usize = 1 << 20;

/// A node that knows so many files.
fn stage(files: u64) -> (Stage, LinkId) {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    for from in (0..files).step_by(MAX_ENTRIES) {
        let numbers = from..files.min(from + 256);
        let entries = numbers.map(|number| Arc::new(update(&format!("file-{number:06}"), 1))).collect();
        stage.say(link, PeerMessage::State { entries, rest: None });
    }
    assert_eq!(stage.node.catalogue().len(), usize::try_from(files).unwrap());
    (stage, link)
}

fn entries_sent(outputs: &[Output]) -> usize {
    let entries = |(_, message): (&[LinkId], &PeerMessage)| match message {
        PeerMessage::State { entries, .. } => entries.len(),
        _ => 0,
    };
    sent(outputs).map(entries).sum()
}

#[test]
fn bounded_output_of_wishes_for_everything() {
    let (mut stage, link) = stage(2000);
    let wishes = vec![Wanted::Range(EVERYTHING, Key(0)); MAX_WANTED];
    let outputs = stage.say(link, PeerMessage::Request(Set::Catalogue, wishes));
    assert_eq!(entries_sent(&outputs), MAX_WANTED * MAX_ENTRIES);
    assert!(bytes(&outputs) <= OUTPUT_MAX, "{} bytes", bytes(&outputs));
    stage.check_it_still_works();
}

#[test]
fn bounded_output_of_wishes_for_one_entry_many_times() {
    let (mut stage, link) = stage(2000);
    let key = shared::gossip::ledger::key_of(b"file-000001");
    let wishes = vec![Wanted::Keys(vec![key; MAX_ENTRIES]); MAX_WANTED];
    let outputs = stage.say(link, PeerMessage::Request(Set::Catalogue, wishes));
    assert!(bytes(&outputs) <= OUTPUT_MAX, "{} entries", entries_sent(&outputs));
    stage.check_it_still_works();
}

#[test]
fn bounded_output_of_claims_to_have_nothing() {
    let (mut stage, link) = stage(2000);
    let nothing = vec![Claim::ItemSet(EVERYTHING, Vec::new()); MAX_CLAIMS];
    let outputs = stage.say(link, PeerMessage::Reconcile(Set::Catalogue, nothing));
    println!("one message having nothing {MAX_CLAIMS} times: {} bytes", bytes(&outputs));
    assert!(bytes(&outputs) <= OUTPUT_MAX, "{} bytes", bytes(&outputs));
    for depth in 0..5 {
        let differ = Fingerprint { count: 1, sum: 1 };
        let claims = vec![Claim::Fingerprint(Prefix { depth, digits: 0 }, differ); MAX_CLAIMS];
        let outputs = stage.say(link, PeerMessage::Reconcile(Set::Catalogue, claims));
        println!("one message differing {MAX_CLAIMS} times at depth {depth}: {} bytes", bytes(&outputs));
        assert!(bytes(&outputs) <= OUTPUT_MAX, "{} bytes", bytes(&outputs));
    }
    stage.check_it_still_works();
}

#[test]
fn ranges_that_cant_be_harm_nothing() {
    for set in [Set::Catalogue, Set::Census] {
        let (mut stage, link) = stage(500);
        for depth in 0..=u8::MAX {
            for digits in [0, 1, 1 << (depth % 64), u64::MAX] {
                let range = Prefix { depth, digits };
                let mut claims =
                    vec![Claim::ItemSet(range, vec![(Key(0), 0), (Key(u128::MAX), u64::MAX), (Key(0), 1)])];
                for count in [0, 1, u32::MAX] {
                    claims.push(Claim::Fingerprint(range, Fingerprint { count, sum: u64::MAX }));
                }
                let outputs = stage.say(link, PeerMessage::Reconcile(set, claims));
                assert!(bytes(&outputs) <= 1 << 20);
                let wishes = [Key(0), Key(1), Key(u128::MAX)].map(|from| Wanted::Range(range, from));
                let outputs = stage.say(link, PeerMessage::Request(set, wishes.to_vec()));
                assert!(entries_sent(&outputs) <= 3 * MAX_ENTRIES);
                let rest = Some((range, Key(u128::MAX)));
                stage.say(link, PeerMessage::State { entries: Vec::new(), rest });
                stage.say(link, PeerMessage::Records { entries: Vec::new(), rest });
            }
        }
        stage.pass(Duration::from_secs(10));
        stage.check_it_still_works();
    }
}

/// The wishes that a node has sent to a link.
fn wishes_to(outputs: &[Output], link: LinkId) -> usize {
    sent(outputs).filter(|(to, message)| *to == [link] && matches!(message, PeerMessage::Request(..))).count()
}

#[test]
fn bounded_memory_wishes() {
    let (mut stage, link) = stage(0);
    let mut under_way = 0;
    for page in 0..1000_u32 {
        let keys = (0..1024).map(|n| (Key(u128::from(page * 1024 + n)), 1)).collect();
        let claims = vec![
            Claim::Missing(keys),
            Claim::Fingerprint(Prefix { depth: 4, digits: 0 }, Fingerprint { count: 1, sum: page.into() }),
        ];
        under_way += wishes_to(&stage.say(link, PeerMessage::Reconcile(Set::Catalogue, claims)), link);
    }
    assert_eq!(under_way, WINDOW);
    let mut asked = under_way;
    for _ in 0..2 * MAX_WISHES {
        let outputs = stage.say(link, PeerMessage::State { entries: Vec::new(), rest: None });
        asked += wishes_to(&outputs, link);
    }
    assert!(asked <= MAX_WISHES + WINDOW, "{asked} wishes were remembered");
    assert!(asked > MAX_WISHES / 2);
    stage.check_it_still_works();
}

/// The honest neighbour has a file and says so once a second: it must be asked for it within so many seconds, whatever
/// the attacker does `meanwhile`.
fn check_others_are_fetched_from(mut stage: Stage, seconds: u64, mut meanwhile: impl FnMut(&mut Stage)) {
    let honest = stage.honest();
    let theirs: Catalogue = [Arc::new(update("theirs", 1))].into_iter().collect();
    let claim = || PeerMessage::Reconcile(Set::Catalogue, vec![initial_claim(&theirs)]);
    let mut wanted = false;
    for _ in 0..seconds {
        let mut outputs = stage.pass(Duration::from_secs(1));
        outputs.extend(stage.say(honest, claim()));
        meanwhile(&mut stage);
        wanted |= wishes_to(&outputs, honest) > 0;
        // Whoever is compared with answers with what it has.
        if sent(&outputs).any(|(to, message)| to == [honest] && matches!(message, PeerMessage::Reconcile(..))) {
            let all = theirs.range(EVERYTHING, Key(0)).map(|(key, hash, _)| (key, hash)).collect();
            let outputs =
                stage.say(honest, PeerMessage::Reconcile(Set::Catalogue, vec![Claim::ItemSet(EVERYTHING, all)]));
            wanted |= wishes_to(&outputs, honest) > 0;
        }
    }
    assert!(wanted, "the honest neighbour was never asked");
    stage.check_it_still_works();
}

#[test]
fn a_fetch_without_end_doesnt_keep_others_waiting() {
    let (mut stage, link) = stage(10);
    let claim = Claim::Missing(vec![(Key(7), 7)]);
    let outputs = stage.say(link, PeerMessage::Reconcile(Set::Catalogue, vec![claim]));
    assert_eq!(wishes_to(&outputs, link), 1);
    let mut from = 0;
    check_others_are_fetched_from(stage, 40, |stage| {
        from += 1;
        let rest = Some((EVERYTHING, Key(from)));
        stage.say(link, PeerMessage::State { entries: Vec::new(), rest });
    });
}

#[test]
fn a_fetch_that_never_brings_anything_doesnt_keep_others_waiting() {
    let (mut stage, link) = stage(10);
    let claim = Claim::Missing(vec![(Key(7), 7)]);
    stage.say(link, PeerMessage::Reconcile(Set::Catalogue, vec![claim]));
    check_others_are_fetched_from(stage, 10, |_| {});
}

#[test]
fn a_client_isnt_fetched_from() {
    let (mut stage, _) = stage(10);
    let client = stage.client(6);
    let outputs = stage.say(client, PeerMessage::Reconcile(Set::Catalogue, vec![Claim::Missing(vec![(Key(7), 7)])]));
    assert_eq!(wishes_to(&outputs, client), 0);
    stage.check_it_still_works();
}

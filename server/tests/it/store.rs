//! What every store promises, whatever it is kept in: one suite, held against each kind of place.
//!
//! Long because each promise is a function, and all of them make one suite.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use server::contents::error::ContentsError;
use server::contents::incoming::Received;
use server::contents::outgoing::Outgoing;
use server::store::error::StoreError;
use server::store::metadata::FileRecord;
use server::store::precondition::{Precondition, Versions};
use server::store::{NewContent, OutboxRow, Store};
use shared::ids::{ContentHash, FileId, UserId, Version};
use shared::wire::queue::ChangeKind;

use crate::support::app::eventually;
use crate::support::place::{Folder, Place, say, to_write_to, write_and_be_killed};

/// The largest content that is taken here.
const BYTES_MAX: u64 = 1 << 20;
/// How many files a process that is killed works on at once.
const AT_ONCE: usize = 4;
/// How long closing may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_a_folder_keeps_what_a_store_promises() {
    check_promises::<Folder>("store::a_store_in_a_folder_keeps_what_a_store_promises").await;
}

/// `test` is the name of the test that calls it.
async fn check_promises<P: Place>(test: &str) {
    if let Some(place) = to_write_to::<P>() {
        return write_for_ever(&place.open().await).await;
    }
    what_is_created_is_given_back(&P::new()).await;
    a_new_version_is_the_latest_and_former_ones_stay(&P::new()).await;
    a_change_whose_condition_does_not_hold_changes_nothing(&P::new()).await;
    of_several_changes_of_one_version_one_is_made(&P::new()).await;
    a_deleted_file_is_gone_and_its_tombstone_is_told(&P::new()).await;
    a_content_stays_for_as_long_as_a_file_has_it(&P::new()).await;
    a_share_lets_see_and_no_more(&P::new()).await;
    every_change_has_its_event_until_the_broker_has_it(&P::new()).await;
    the_newest_versions_are_published_again(&P::new()).await;
    an_upload_under_a_key_is_made_once(&P::new()).await;
    an_upload_that_comes_to_nothing_leaves_nothing(&P::new()).await;
    a_bad_content_is_never_given_and_the_same_bytes_mend_it(&P::new()).await;
    a_content_that_a_crash_left_alone_harms_nothing(&P::new()).await;
    what_was_answered_is_there_after_opening_again(&P::new()).await;
    nothing_answered_is_lost_by_a_kill(&P::new(), test).await;
}

async fn what_is_created_is_given_back(place: &impl Place) {
    let store = place.open().await;
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).take(700_000).collect();
    let file = create(&store, "alice", "a", &bytes).await;
    assert_eq!((file.version, file.size_bytes, file.owner.as_str()), (Version::FIRST, 700_000, "alice"));
    assert_eq!((file.content, file.name.as_str()), (Some(hash(&bytes)), "a"));
    assert_eq!(store.file(file.id.clone(), user("alice"), None).await.unwrap(), file);
    assert_eq!(store.list(user("alice"), None, 10).await.unwrap(), std::slice::from_ref(&file));
    assert_eq!(read(&store, &file).await.unwrap(), bytes);
    let part = store.open_content(&file, 300_000..300_004).await.unwrap();
    assert_eq!(collect(&store, &file, part).await.unwrap(), bytes[300_000..300_004]);
    let empty = create(&store, "alice", "empty", b"").await;
    assert_eq!(read(&store, &empty).await.unwrap(), b"");
    let others = store.file(file.id, user("bob"), None).await;
    assert!(matches!(others, Err(StoreError::NotFound)), "{others:?}");
    assert!(store.list(user("bob"), None, 10).await.unwrap().is_empty());
}

async fn a_new_version_is_the_latest_and_former_ones_stay(place: &impl Place) {
    let store = place.open().await;
    let first = create(&store, "alice", "a", b"one").await;
    let second = replace(&store, &first, Precondition::ANY, b"two").await.unwrap();
    let third = replace(&store, &first, Precondition::ANY, b"three").await.unwrap();
    assert_eq!((second.version, third.version, &third.id), (Version(2), Version(3), &first.id));
    let get = |version| store.file(first.id.clone(), user("alice"), version);
    assert_eq!(get(None).await.unwrap(), third);
    assert_eq!(get(Some(Version(2))).await.unwrap(), second);
    assert!(matches!(get(Some(Version(4))).await, Err(StoreError::NotFound)));
    let history = |before, limit| store.history(first.id.clone(), user("alice"), before, limit);
    assert_eq!(history(None, 2).await.unwrap(), (Version(3), vec![third, second.clone()]));
    assert_eq!(history(Some(Version(2)), 9).await.unwrap(), (Version(3), vec![first.clone()]));
    assert_eq!(read(&store, &first).await.unwrap(), b"one");
    assert_eq!(read(&store, &second).await.unwrap(), b"two");
    // The newest file first, a page at a time.
    let newer = create(&store, "alice", "b", b"b").await;
    let page = store.list(user("alice"), None, 1).await.unwrap();
    assert_eq!(page, std::slice::from_ref(&newer));
    assert_eq!(store.list(user("alice"), Some(newer.id), 9).await.unwrap()[0].id, first.id);
}

async fn a_change_whose_condition_does_not_hold_changes_nothing(place: &impl Place) {
    let store = place.open().await;
    let first = create(&store, "alice", "a", b"one").await;
    let second = replace(&store, &first, at(1), b"two").await.unwrap();
    let events = store.outbox_counts().await.unwrap();
    let not_second = Precondition { these: Versions::Any, others: Versions::OneOf(vec![Version(2)]) };
    for condition in [at(1), at(3), not_second] {
        let refused = replace(&store, &first, condition.clone(), b"three").await;
        assert!(matches!(refused, Err(StoreError::VersionMismatch { current: Version(2) })), "{refused:?}");
        let refused = store.delete(first.id.clone(), user("alice"), condition).await;
        assert!(matches!(refused, Err(StoreError::VersionMismatch { current: Version(2) })), "{refused:?}");
    }
    let new = new(&store, "b", b"three").await;
    let others = store.replace(first.id.clone(), user("bob"), Precondition::ANY, new).await;
    assert!(matches!(others, Err(StoreError::NotFound)), "{others:?}");
    assert_eq!(store.file(first.id.clone(), user("alice"), None).await.unwrap(), second);
    assert_eq!(store.outbox_counts().await.unwrap(), events);
    assert!(!place.holds(hash(b"three")) && place.on_their_way() == 0);
}

async fn of_several_changes_of_one_version_one_is_made(place: &impl Place) {
    let store = place.open().await;
    let first = create(&store, "alice", "a", b"one").await;
    let change = async |n: usize| replace(&store, &first, at(1), format!("change {n}").as_bytes()).await;
    let changes = join_all((0..8).map(change)).await;
    let (made, refused): (Vec<_>, Vec<_>) = changes.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|other| matches!(other, Err(StoreError::VersionMismatch { current: Version(2) }))));
    let [Ok(made)] = &made[..] else { panic!("{made:?}") };
    assert_eq!(store.file(first.id, user("alice"), None).await.unwrap(), *made);
    assert!(place.holds(made.content.unwrap()));
    let kept = (0..8).filter(|n| place.holds(hash(format!("change {n}").as_bytes()))).count();
    assert_eq!((kept, store.outbox_counts().await.unwrap()), (1, (2, 0)));
}

async fn a_deleted_file_is_gone_and_its_tombstone_is_told(place: &impl Place) {
    let store = place.open().await;
    let first = create(&store, "alice", "a", b"one").await;
    replace(&store, &first, Precondition::ANY, b"two").await.unwrap();
    store.share(first.id.clone(), user("alice"), user("bob")).await.unwrap();
    let tombstone = store.delete(first.id.clone(), user("alice"), at(2)).await.unwrap();
    assert_eq!((tombstone.version, tombstone.content, tombstone.size_bytes), (Version(3), None, 0));
    for who in ["alice", "bob"] {
        for version in [None, Some(Version(1)), Some(Version(3))] {
            let gone = store.file(first.id.clone(), user(who), version).await;
            assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
        }
        assert!(store.list(user(who), None, 10).await.unwrap().is_empty());
    }
    assert!(matches!(replace(&store, &first, Precondition::ANY, b"x").await, Err(StoreError::NotFound)));
    assert!(matches!(read(&store, &first).await, Err(StoreError::NotFound)));
    let last = pending(&store).await.pop().unwrap().event;
    assert_eq!((last.event, last.version, last.content_hash), (ChangeKind::Deleted, Version(3), None));
    assert!(!place.holds(hash(b"one")) && !place.holds(hash(b"two")) && !place.holds(hash(b"x")));
}

async fn a_content_stays_for_as_long_as_a_file_has_it(place: &impl Place) {
    let store = place.open().await;
    let (mut one, other) = (create(&store, "alice", "a", b"same").await, create(&store, "bob", "b", b"same").await);
    store.delete(other.id, user("bob"), Precondition::ANY).await.unwrap();
    assert_eq!(read(&store, &one).await.unwrap(), b"same");
    // It comes again while the last file that had it goes.
    for _ in 0..20 {
        let delete = store.delete(one.id.clone(), user("alice"), Precondition::ANY);
        let (again, deleted) = tokio::join!(create(&store, "alice", "a", b"same"), delete);
        deleted.unwrap();
        assert_eq!(read(&store, &again).await.unwrap(), b"same");
        one = again;
    }
    store.delete(one.id, user("alice"), Precondition::ANY).await.unwrap();
    assert!(!place.holds(hash(b"same")));
}

async fn a_share_lets_see_and_no_more(place: &impl Place) {
    let store = place.open().await;
    let file = create(&store, "alice", "a", b"one").await;
    let share = async |by: &str, with: &str| store.share(file.id.clone(), user(by), user(with)).await;
    let first = share("alice", "bob").await.unwrap();
    assert_eq!((first.target.as_str(), pending(&store).await.len()), ("bob", 2));
    assert_eq!(share("alice", "bob").await.unwrap(), first);
    assert_eq!(pending(&store).await.len(), 2, "it is no second event");
    assert_eq!(store.shares(file.id.clone(), user("alice")).await.unwrap(), [first]);
    assert!(matches!(share("alice", "alice").await, Err(StoreError::SharedWithOwner)));
    assert!(matches!(share("bob", "carol").await, Err(StoreError::NotOwner)));
    assert!(matches!(share("carol", "carol").await, Err(StoreError::NotFound)));
    assert_eq!(store.file(file.id.clone(), user("bob"), None).await.unwrap(), file);
    assert_eq!(store.list(user("bob"), None, 10).await.unwrap(), std::slice::from_ref(&file));
    let second = new(&store, "b", b"two").await;
    let replaced = store.replace(file.id.clone(), user("bob"), Precondition::ANY, second).await;
    assert!(matches!(replaced, Err(StoreError::NotOwner)), "{replaced:?}");
    let deleted = store.delete(file.id.clone(), user("bob"), Precondition::ANY).await;
    assert!(matches!(deleted, Err(StoreError::NotOwner)), "{deleted:?}");
    let events = pending(&store).await;
    assert_eq!(
        events.iter().map(|row| row.event.event).collect::<Vec<_>>(),
        [ChangeKind::Uploaded, ChangeKind::Shared]
    );
    assert_eq!(events[1].event.target, Some(user("bob")));
    let unshare = || store.unshare(file.id.clone(), user("alice"), user("bob"));
    unshare().await.unwrap();
    assert!(matches!(unshare().await, Err(StoreError::NotFound)));
    assert!(matches!(store.file(file.id.clone(), user("bob"), None).await, Err(StoreError::NotFound)));
}

async fn every_change_has_its_event_until_the_broker_has_it(place: &impl Place) {
    let store = place.open().await;
    let mut changes = store.outbox_changes();
    let first = create(&store, "alice", "a", b"one").await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let other = create(&store, "bob", "b", b"other").await;
    replace(&store, &first, Precondition::ANY, b"two").await.unwrap();
    store.delete(first.id.clone(), user("alice"), Precondition::ANY).await.unwrap();
    let events = pending(&store).await;
    let told: Vec<_> = events.iter().map(|row| (&row.event.file_id, row.event.version.0, row.event.event)).collect();
    let expected = [
        (&first.id, 1, ChangeKind::Uploaded),
        (&other.id, 1, ChangeKind::Uploaded),
        (&first.id, 2, ChangeKind::Updated),
        (&first.id, 3, ChangeKind::Deleted),
    ];
    assert_eq!(told, expected);
    assert!(events.is_sorted_by(|one, next| one.seq < next.seq && one.event.ts < next.event.ts));
    assert!(events.iter().all(|row| row.event.origin == Some(store.node())));
    assert_eq!(events[0].event.content_hash, first.content);
    assert_eq!(store.outbox_pending(events[1].seq, 1).await.unwrap(), events[2..3]);
    store.outbox_sent(vec![events[0].message_id, events[2].message_id]).await.unwrap();
    store.outbox_dead(events[1].message_id, "nobody understands it".to_owned()).await.unwrap();
    assert_eq!(pending(&store).await, events[3..]);
    assert_eq!(store.outbox_counts().await.unwrap(), (1, 1));
    // Once more is harmless.
    store.outbox_sent(vec![events[0].message_id]).await.unwrap();
    assert_eq!(store.outbox_counts().await.unwrap(), (1, 1));
    assert_eq!(store.use_queue("one".to_owned()).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.use_queue("two".to_owned()).await.unwrap(), ["one"]);
    store.forget_queue("one".to_owned()).await.unwrap();
    assert_eq!(store.use_queue("two".to_owned()).await.unwrap(), Vec::<String>::new());
}

async fn the_newest_versions_are_published_again(place: &impl Place) {
    let store = place.open().await;
    let (file, gone) = (create(&store, "alice", "a", b"one").await, create(&store, "alice", "b", b"two").await);
    replace(&store, &file, Precondition::ANY, b"three").await.unwrap();
    store.delete(gone.id, user("alice"), Precondition::ANY).await.unwrap();
    let before = pending(&store).await;
    store.outbox_sent(before.iter().map(|row| row.message_id).collect()).await.unwrap();
    assert_eq!(store.republish(u64::MAX >> 1).await.unwrap(), 0);
    assert_eq!(store.republish(0).await.unwrap(), 2);
    let again = pending(&store).await;
    let events = |rows: &[OutboxRow]| rows.iter().map(|row| row.event.clone()).collect::<Vec<_>>();
    assert_eq!(events(&again), events(&before[2..]));
    assert!(again.iter().all(|row| before.iter().all(|former| former.message_id != row.message_id)));
}

async fn an_upload_under_a_key_is_made_once(place: &impl Place) {
    let store = place.open().await;
    let upload = async |who: &str, key: &str, name: &str, bytes: &[u8]| {
        store.create(user(who), new(&store, name, bytes).await, Some(key.to_owned())).await
    };
    let first = upload("alice", "k", "a", b"one").await.unwrap();
    let again = upload("alice", "k", "a", b"one").await.unwrap();
    assert_eq!((first.is_repeated, again.is_repeated, &again.file), (false, true, &first.file));
    for (name, bytes) in [("a", &b"two"[..]), ("b", b"one")] {
        let other = upload("alice", "k", name, bytes).await;
        assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    }
    assert!(!place.holds(hash(b"two")));
    let others = upload("bob", "k", "a", b"one").await.unwrap();
    assert!(!others.is_repeated && others.file.id != first.file.id);
    let at_once = join_all((0..8).map(async |_| upload("alice", "at once", "a", b"three").await.unwrap())).await;
    assert_eq!(at_once.iter().filter(|created| !created.is_repeated).count(), 1);
    assert!(at_once.iter().all(|created| created.file.id == at_once[0].file.id));
    assert_eq!(store.outbox_counts().await.unwrap(), (3, 0));
    // Of a file that is there no more nobody is told that it was made.
    store.delete(first.file.id.clone(), user("alice"), Precondition::ANY).await.unwrap();
    let late = upload("alice", "k", "a", b"one").await;
    assert!(matches!(late, Err(StoreError::KeySpent)), "{late:?}");
}

async fn an_upload_that_comes_to_nothing_leaves_nothing(place: &impl Place) {
    let store = place.open().await;
    store.admit(4).await.unwrap();
    let mut broken_off = store.receive(BYTES_MAX).await.unwrap();
    broken_off.write(Bytes::from(vec![7; 500_000])).await.unwrap();
    assert_eq!(place.on_their_way(), 1);
    drop(broken_off);
    drop(received(&store, b"nobody's").await);
    let mut large = store.receive(3).await.unwrap();
    let refused = large.write(Bytes::from_static(b"four")).await;
    assert!(matches!(refused, Err(ContentsError::TooLarge { bytes_max: 3 })), "{refused:?}");
    drop(large);
    eventually("nothing is on its way", async || place.on_their_way() == 0).await;
    assert!(!place.holds(hash(b"nobody's")));
    assert!(store.list(user("alice"), None, 10).await.unwrap().is_empty());
    assert_eq!(store.outbox_counts().await.unwrap(), (0, 0));
}

async fn a_bad_content_is_never_given_and_the_same_bytes_mend_it<P: Place>(place: &P) {
    let store = place.open().await;
    for (n, harm) in [P::lose, P::cut, P::damage].into_iter().enumerate() {
        let bytes = vec![u8::try_from(n).unwrap(); 300_000];
        let file = create(&store, "alice", "a", &bytes).await;
        harm(place, hash(&bytes));
        // The second time it is known, and not begun.
        for _ in 0..2 {
            let given = read(&store, &file).await;
            assert!(matches!(given, Err(StoreError::Contents(ContentsError::Bad(_)))), "{given:?}");
        }
        let part = store.open_content(&file, 0..2).await;
        assert!(matches!(part, Err(StoreError::Contents(ContentsError::Bad(_)))), "{part:?}");
        create(&store, "bob", "b", &bytes).await;
        assert_eq!(read(&store, &file).await.unwrap(), bytes);
    }
}

async fn a_content_that_a_crash_left_alone_harms_nothing(place: &impl Place) {
    place.open().await.close(LIMIT).await;
    place.put(b"left alone");
    let store = place.open().await;
    assert!(store.list(user("alice"), None, 10).await.unwrap().is_empty());
    let file = create(&store, "alice", "a", b"left alone").await;
    assert_eq!(read(&store, &file).await.unwrap(), b"left alone");
    store.close(LIMIT).await;
    let store = place.open().await;
    assert_eq!(read(&store, &file).await.unwrap(), b"left alone");
    store.delete(file.id, user("alice"), Precondition::ANY).await.unwrap();
    assert!(!place.holds(hash(b"left alone")));
}

async fn what_was_answered_is_there_after_opening_again(place: &impl Place) {
    let store = place.open().await;
    let first = create(&store, "alice", "a", b"one").await;
    let second = replace(&store, &first, Precondition::ANY, b"two").await.unwrap();
    let keyed = store.create(user("alice"), new(&store, "b", b"b").await, Some("k".to_owned())).await.unwrap();
    let share = store.share(first.id.clone(), user("alice"), user("bob")).await.unwrap();
    let (node, events) = (store.node(), pending(&store).await);
    store.close(LIMIT).await;
    assert!(store.list(user("alice"), None, 1).await.is_err(), "it is closed");
    let store = place.open().await;
    assert_eq!((store.node(), pending(&store).await), (node, events.clone()));
    assert_eq!(store.file(first.id.clone(), user("bob"), None).await.unwrap(), second);
    assert_eq!(store.shares(first.id.clone(), user("alice")).await.unwrap(), [share]);
    let history = store.history(first.id.clone(), user("alice"), None, 10).await.unwrap();
    assert_eq!(history, (Version(2), vec![second.clone(), first.clone()]));
    for (file, bytes) in [(&first, "one"), (&second, "two"), (&keyed.file, "b")] {
        assert_eq!(read(&store, file).await.unwrap(), bytes.as_bytes());
    }
    let again = store.create(user("alice"), new(&store, "b", b"b").await, Some("k".to_owned())).await.unwrap();
    assert_eq!((again.is_repeated, again.file), (true, keyed.file));
    // Its clock goes on.
    create(&store, "alice", "c", b"c").await;
    assert!(pending(&store).await.last().unwrap().event.ts > events.last().unwrap().event.ts);
}

/// Creates, replaces and deletes, several at once, and says what was answered.
async fn write_for_ever(store: &Store) {
    let work = async |first: usize| {
        for n in (first..).step_by(AT_ONCE) {
            let file = create(store, "alice", &n.to_string(), &bytes_of(n, 1)).await;
            say(&format!("{} 1", file.id));
            replace(store, &file, Precondition::ANY, &bytes_of(n, 2)).await.unwrap();
            say(&format!("{} 2", file.id));
            if n.is_multiple_of(3) {
                store.delete(file.id.clone(), user("alice"), Precondition::ANY).await.unwrap();
                say(&format!("{} 3", file.id));
            }
        }
    };
    join_all((0..AT_ONCE).map(work)).await;
}

/// Some are of one block, some of several; every fifth file has what its neighbour has.
fn bytes_of(n: usize, version: usize) -> Vec<u8> {
    let n = if n.is_multiple_of(5) { n + 1 } else { n };
    format!("{n} {version} ").repeat(if n.is_multiple_of(2) { 1 } else { 50_000 }).into_bytes()
}

async fn nothing_answered_is_lost_by_a_kill(place: &impl Place, test: &str) {
    let mut answered: BTreeMap<FileId, u64> = BTreeMap::new();
    for count in [1, 20, 50] {
        for done in write_and_be_killed(place, test, count) {
            let (id, version) = done.split_once(' ').unwrap();
            answered.insert(id.parse().unwrap(), version.parse().unwrap());
        }
        let store = place.open().await;
        let events = events_by_file(&store).await;
        for (id, version) in &answered {
            assert!(events.get(id).is_some_and(|(last, _)| last >= version), "{id} {version}: {events:?}");
        }
        let files = store.list(user("alice"), None, 10_000).await.unwrap();
        let told = events.iter().filter(|(_, (_, kind))| *kind != ChangeKind::Deleted).count();
        assert_eq!(files.len(), told, "each change has its event, and each event its change");
        for file in files {
            let (latest, versions) = store.history(file.id.clone(), user("alice"), None, 10).await.unwrap();
            assert_eq!(events[&file.id].0, latest.0);
            for version in versions {
                // The name is only kept by the first version.
                let n = if version.version == Version::FIRST { version.name.parse().ok() } else { None };
                let given = read(&store, &version).await.unwrap();
                assert!(n.is_none_or(|n| given == bytes_of(n, 1)));
                assert_eq!(hash(&given), version.content.unwrap());
            }
        }
        assert_eq!(place.on_their_way(), 0);
        store.close(LIMIT).await;
    }
}

/// The last version of each file that was told of, and how it came to be. That none was left out is checked.
async fn events_by_file(store: &Store) -> BTreeMap<FileId, (u64, ChangeKind)> {
    let mut last = BTreeMap::new();
    for OutboxRow { event, .. } in store.outbox_pending(0, 100_000).await.unwrap() {
        let former = last.insert(event.file_id.clone(), (event.version.0, event.event));
        assert_eq!(former.map_or(0, |(version, _)| version) + 1, event.version.0, "{}", event.file_id);
    }
    last
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

/// Only while the file is at this version.
fn at(version: u64) -> Precondition {
    Precondition { these: Versions::OneOf(vec![Version(version)]), ..Precondition::ANY }
}

async fn received(store: &Store, bytes: &[u8]) -> Received {
    let mut incoming = store.receive(BYTES_MAX).await.unwrap();
    for piece in bytes.chunks(100_000) {
        incoming.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    incoming.finish().await.unwrap()
}

async fn new(store: &Store, name: &str, bytes: &[u8]) -> NewContent {
    let received = received(store, bytes).await;
    NewContent { name: name.to_owned(), content_type: "text/plain".to_owned(), received }
}

async fn create(store: &Store, owner: &str, name: &str, bytes: &[u8]) -> FileRecord {
    let created = store.create(user(owner), new(store, name, bytes).await, None).await.unwrap();
    assert!(!created.is_repeated);
    created.file
}

async fn replace(
    store: &Store,
    file: &FileRecord,
    condition: Precondition,
    bytes: &[u8],
) -> Result<FileRecord, StoreError> {
    store.replace(file.id.clone(), file.owner.clone(), condition, new(store, "new", bytes).await).await
}

async fn read(store: &Store, file: &FileRecord) -> Result<Vec<u8>, StoreError> {
    let content = store.open_content(file, 0..file.size_bytes).await?;
    collect(store, file, content).await
}

async fn collect(store: &Store, file: &FileRecord, content: Outgoing) -> Result<Vec<u8>, StoreError> {
    let (watching, asked) = (store.clone(), file.clone());
    let mut blocks = Box::pin(content.into_blocks(move |error| watching.report_content(&asked, error)));
    let mut bytes = Vec::new();
    while let Some(block) = blocks.next().await {
        bytes.extend_from_slice(&block?);
    }
    Ok(bytes)
}

async fn pending(store: &Store) -> Vec<OutboxRow> {
    store.outbox_pending(0, 1000).await.unwrap()
}

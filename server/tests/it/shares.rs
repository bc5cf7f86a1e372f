//! Alice owns, bob was let in, mallory knows the id: who may do what.

use reqwest::Method;
use serde_json::Value;
use shared::ids::UserId;
use shared::wire::event::Event;
use shared::wire::queue::ChangeKind;
use shared::wire::rest::{FileOut, ShareOut};

use crate::support::app::{App, assert_problem, form};

#[tokio::test]
async fn a_stranger_cannot_tell_that_the_file_exists() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "secret").await.id;
    let (file, shares) = (format!("/files/{id}"), format!("/shares/{id}"));
    let unknown = "00000000-0000-7000-8000-000000000000";
    for path in [&file, &format!("{file}/meta"), &format!("{file}/history"), &shares] {
        assert_problem(app.get("mallory", path).await, 404, "not-found").await;
        let theirs: Value = app.get("mallory", path).await.json().await.unwrap();
        let none: Value = app.get("mallory", &path.replace(&id, unknown)).await.json().await.unwrap();
        assert_eq!(theirs, none);
    }
    assert_problem(app.put("mallory", &id, "\"1\"", "x").send().await.unwrap(), 404, "not-found").await;
    let without = app.by("mallory", Method::PUT, &file).multipart(form("uploaded", "a", "x")).send().await.unwrap();
    assert_problem(without, 404, "not-found").await;
    let delete = app.by("mallory", Method::DELETE, &file).header("if-match", "*").send().await.unwrap();
    assert_problem(delete, 404, "not-found").await;
    assert_problem(app.share("mallory", &id, "mallory").await, 404, "not-found").await;
    assert_eq!(app.get("mallory", "/files").await.json::<Value>().await.unwrap(), serde_json::json!([]));
}

#[tokio::test]
async fn who_was_let_in_may_look_and_nothing_else() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "text").await.id;
    assert_eq!(app.share("alice", &id, "bob").await.status(), 201);
    let (file, shares) = (format!("/files/{id}"), format!("/shares/{id}"));
    assert_eq!(app.get("bob", &file).await.text().await.unwrap(), "text");
    assert_eq!(app.get("bob", &format!("{file}/history")).await.status(), 200);
    let list: Vec<FileOut> = app.get("bob", "/files").await.json().await.unwrap();
    assert_eq!(list.iter().map(|file| &file.id).collect::<Vec<_>>(), [&id]);
    assert_problem(app.put("bob", &id, "\"1\"", "x").send().await.unwrap(), 403, "not-owner").await;
    let delete = app.by("bob", Method::DELETE, &file).header("if-match", "*").send().await.unwrap();
    assert_problem(delete, 403, "not-owner").await;
    assert_problem(app.get("bob", &shares).await, 403, "not-owner").await;
    assert_problem(app.share("bob", &id, "mallory").await, 403, "not-owner").await;
    let unshare = app.by("bob", Method::DELETE, &format!("{shares}/bob")).send().await.unwrap();
    assert_problem(unshare, 403, "not-owner").await;
}

#[tokio::test]
async fn sharing_again_changes_nothing_and_ending_it_shuts_out() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "text").await.id;
    let first: ShareOut = app.share("alice", &id, "bob").await.json().await.unwrap();
    let again = app.share("alice", &id, "bob").await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<ShareOut>().await.unwrap(), first);
    let events = app.state.store.outbox_pending(0, 10).await.unwrap();
    let told: Vec<_> = events.iter().filter(|row| row.event.event == ChangeKind::Shared).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].event.target, Some("bob".parse().unwrap()));
    let shares = format!("/shares/{id}");
    assert_eq!(app.get("alice", &shares).await.json::<Vec<ShareOut>>().await.unwrap(), [first]);
    let end = || app.by("alice", Method::DELETE, &format!("{shares}/bob")).send();
    assert_eq!(end().await.unwrap().status(), 204);
    assert_problem(end().await.unwrap(), 404, "not-found").await;
    assert_problem(app.get("bob", &format!("/files/{id}")).await, 404, "not-found").await;
}

#[tokio::test]
async fn bad_shares_are_refused() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "text").await.id;
    assert_problem(app.share("alice", &id, "alice").await, 422, "invalid").await;
    assert_problem(app.share("alice", &id, "").await, 422, "invalid").await;
    assert_problem(app.share("alice", "nonsense", "bob").await, 404, "not-found").await;
    let post = || app.by("alice", Method::POST, &format!("/shares/{id}"));
    assert_problem(post().body("{}").send().await.unwrap(), 415, "unsupported-media-type").await;
    assert_problem(post().json(&serde_json::json!({})).send().await.unwrap(), 422, "invalid").await;
    let large = serde_json::json!({ "target_user_id": "x".repeat(100_000) });
    assert_problem(post().json(&large).send().await.unwrap(), 413, "too-large").await;
}

#[tokio::test]
async fn each_change_is_told_with_who_may_see_it_which_no_reader_is_told() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "one").await.id;
    assert_eq!(app.share("alice", &id, "bob").await.status(), 201);
    assert_eq!(app.put("alice", &id, "\"1\"", "two").send().await.unwrap().status(), 200);
    let delete = app.by("alice", Method::DELETE, &format!("/files/{id}")).header("if-match", "*");
    assert_eq!(delete.send().await.unwrap().status(), 204);
    let log = app.state.hub.read(|overview| overview.log.clone());
    let told = log.iter().filter_map(|entry| match &entry.event {
        Event::FileStored { change, audience, .. } => {
            let owner = audience.owner.as_ref().map(UserId::as_str);
            Some((*change, owner, audience.shared_with.iter().map(UserId::as_str).collect()))
        }
        _ => None,
    });
    let of_alice = |change, others: &[&'static str]| (change, Some("alice"), others.to_vec());
    assert_eq!(
        told.collect::<Vec<(ChangeKind, Option<&str>, Vec<&str>)>>(),
        [
            of_alice(ChangeKind::Uploaded, &[]),
            of_alice(ChangeKind::Shared, &["bob"]),
            of_alice(ChangeKind::Updated, &["bob"]),
            of_alice(ChangeKind::Deleted, &["bob"]),
        ]
    );
    let sent = serde_json::to_string(&log).unwrap();
    assert!(!sent.contains("alice") && !sent.contains("bob"), "{sent}");
}

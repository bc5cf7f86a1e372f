//! Changes at the same time: nobody's change is lost.

use futures_util::future::join_all;
use reqwest::Method;

use crate::support::app::{App, assert_problem, form};

#[tokio::test]
async fn of_many_writers_with_the_same_version_exactly_one_wins() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "0").await.id;
    for round in 1..=5_u64 {
        let tag = format!("\"{round}\"");
        let writers = (0..16).map(|n| app.put("alice", &id, &tag, &format!("{round} by {n}")).send());
        let statuses: Vec<u16> =
            join_all(writers).await.into_iter().map(|done| done.unwrap().status().as_u16()).collect();
        let (won, lost): (Vec<_>, Vec<_>) = statuses.iter().enumerate().partition(|(_, status)| **status == 200);
        assert!(lost.iter().all(|(_, status)| **status == 412), "{statuses:?}");
        assert_eq!(won.len(), 1, "{statuses:?}");
        let text = app.get("alice", &format!("/files/{id}")).await.text().await.unwrap();
        assert_eq!(text, format!("{round} by {}", won[0].0));
    }
    assert_eq!(app.state.store.outbox_counts().await.unwrap(), (6, 0));
    // One content a version, and nothing of those who lost.
    assert_eq!(app.contents().0.len(), 6);
    assert_eq!(app.contents().1, 0);
}

#[tokio::test]
async fn a_change_says_what_it_changes() {
    let app = App::start().await;
    let id = app.upload("alice", "a", "0").await.id;
    let path = format!("/files/{id}");
    let put = app.by("alice", Method::PUT, &path).multipart(form("uploaded", "a", "1")).send().await.unwrap();
    assert_problem(put, 428, "precondition-required").await;
    let delete = app.by("alice", Method::DELETE, &path).send().await.unwrap();
    assert_problem(delete, 428, "precondition-required").await;
    for stale in ["\"2\"", "W/\"1\"", "1", "\"7\", \"8\""] {
        let put = app.put("alice", &id, stale, "1").send().await.unwrap();
        assert_eq!(put.headers()["etag"], "\"1\"");
        assert_problem(put, 412, "version-mismatch").await;
        let delete = app.by("alice", Method::DELETE, &path).header("if-match", stale).send().await.unwrap();
        assert_problem(delete, 412, "version-mismatch").await;
    }
    assert_eq!(app.put("alice", &id, "\"9\", \"1\"", "1").send().await.unwrap().status(), 200);
    assert_eq!(app.put("alice", &id, "*", "2").send().await.unwrap().headers()["etag"], "\"3\"");
}

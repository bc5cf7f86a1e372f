//! The API's description: complete, of the right version, and served with a page that needs nothing from elsewhere.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::Value;

use crate::support::app::App;

#[tokio::test]
async fn the_description_lists_every_call() {
    let app = App::start().await;
    let api: Value = app.call(Method::GET, "/openapi.json").send().await.unwrap().json().await.unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let calls: BTreeMap<&String, Vec<String>> = api["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| {
            let describe = |(method, call): (&String, &Value)| {
                let statuses: Vec<&str> = call["responses"].as_object().unwrap().keys().map(String::as_str).collect();
                format!("{method} {}", statuses.join(" "))
            };
            (path, item.as_object().unwrap().iter().map(describe).collect())
        })
        .collect();
    insta::assert_json_snapshot!(calls);
}

#[tokio::test]
async fn every_described_reference_and_error_has_a_body() {
    let app = App::start().await;
    let api: Value = app.call(Method::GET, "/openapi.json").send().await.unwrap().json().await.unwrap();
    let calls = api["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    for response in calls.clone().flat_map(|call| call["responses"].as_object().unwrap()) {
        let (status, response) = response;
        assert!(response["description"].is_string());
        let is_problem = response["content"]["application/problem+json"]["schema"].is_object();
        // What isn't ready says so in a body of its own.
        let has_own = response["content"]["application/json"].is_object();
        assert_eq!(is_problem, status.as_str() >= "400" && !has_own, "{status} {response}");
    }
    let ids: Vec<&str> = calls.map(|call| call["operationId"].as_str().unwrap()).collect();
    let text = api.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(api.pointer(reference).is_some(), "{reference} is nowhere");
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

/// Every described call is a route: it answers with something else than "no such page" or "no such method".
#[tokio::test]
async fn every_described_call_is_served() {
    let app = App::start().await;
    let api: Value = app.call(Method::GET, "/openapi.json").send().await.unwrap().json().await.unwrap();
    for (path, item) in api["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "x").replace("{user}", "y");
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let text = app.call(method.clone(), &path).send().await.unwrap().text().await.unwrap();
            assert!(!text.contains("no-such-page") && !text.contains("method-not-allowed"), "{method} {path}: {text}");
        }
    }
}

#[tokio::test]
async fn pages_for_people_are_served() {
    let app = App::start().await;
    let root = app.call(Method::GET, "/").send().await.unwrap();
    assert_eq!((root.status().as_u16(), root.headers()["location"].to_str().unwrap()), (307, "/ui/"));
    for page in ["/ui/", "/docs/"] {
        let answer = app.call(Method::GET, page).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{page}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{page}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http"), "{page} needs something from elsewhere");
    }
}

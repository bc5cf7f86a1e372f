//! Conditions, ranges and caches over HTTP (RFC 9110, sections 13 and 14; RFC 9111), and how JSON travels. The headers'
//! grammar and precedence are tested where they are read.

use std::collections::BTreeSet;

use reqwest::{Method, Response};
use shared::wire::rest::FileOut;

use crate::support::app::App;

async fn call(app: &App, method: &Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let call = app.by("alice", method.clone(), path);
    headers.iter().fold(call, |call, (name, value)| call.header(*name, *value)).send().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Methods, the headers of a request, and the status that answers it.
type Row<'a> = (&'a [Method], &'a [(&'a str, &'a str)], u16);

#[tokio::test]
async fn every_method_answers_conditions_as_http_says() {
    const GET: Method = Method::GET;
    const HEAD: Method = Method::HEAD;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    const PAST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const FUTURE: &str = "Fri, 06 Nov 2893 08:49:37 GMT";
    let app = App::start().await;
    let file = app.upload("alice", "a", "0123456789").await;
    let path = format!("/files/{}", file.id);
    let table: &[Row<'_>] = &[
        (&[GET, HEAD], &[("if-match", "\"1\"")], 200),
        (&[GET, HEAD, PUT, DELETE], &[("if-match", "\"2\"")], 412),
        (&[GET, HEAD, PUT, DELETE], &[("if-match", "\"x,*,y\"")], 412),
        (&[GET, HEAD, PUT, DELETE], &[("if-match", "W/\"1\"")], 412),
        (&[GET, HEAD], &[("if-none-match", "*")], 304),
        (&[PUT, DELETE], &[("if-none-match", "*")], 412),
        (&[PUT, DELETE], &[("if-match", "*"), ("if-none-match", "*")], 412),
        (&[PUT, DELETE], &[("if-match", "*"), ("if-none-match", "\"1\"")], 412),
        (&[PUT, DELETE], &[("if-none-match", "\"2\"")], 428),
        (&[GET, HEAD], &[("if-none-match", "W/\"1\"")], 304),
        (&[GET, HEAD], &[("if-modified-since", FUTURE)], 304),
        (&[GET, HEAD], &[("if-modified-since", PAST)], 200),
        (&[GET, HEAD, PUT, DELETE], &[("if-unmodified-since", PAST)], 412),
        (&[GET, HEAD], &[("if-unmodified-since", FUTURE)], 200),
        (&[PUT, DELETE], &[("if-unmodified-since", FUTURE)], 428),
        (&[GET], &[("range", "bytes=2-4")], 206),
        (&[GET], &[("range", "Bytes=2-4")], 206),
        (&[HEAD], &[("range", "bytes=2-4")], 200),
        (&[GET], &[("range", "bytes=0-1,4-5")], 200),
        (&[GET], &[("range", "bytes=10-")], 416),
        (&[HEAD], &[("range", "bytes=10-")], 200),
        (&[GET], &[("range", "bytes=2-4"), ("if-range", "\"1\"")], 206),
        (&[GET], &[("range", "bytes=2-4"), ("if-range", "\"2\"")], 200),
        (&[GET], &[("range", "bytes=2-4"), ("if-range", "W/\"1\"")], 200),
        (&[GET], &[("range", "bytes=2-4"), ("if-match", "\"2\"")], 412),
        (&[GET], &[("range", "bytes=2-4"), ("if-none-match", "\"1\"")], 304),
        (&[GET], &[("range", "bytes=10-"), ("if-none-match", "\"1\"")], 304),
    ];
    for (methods, headers, status) in table {
        for method in *methods {
            let answer = call(&app, method, &path, headers).await;
            assert_eq!(answer.status().as_u16(), *status, "{method} {headers:?}");
            if *status == 412 || *status == 304 {
                assert_eq!(header(&answer, "etag"), "\"1\"", "{method} {headers:?}");
            }
        }
    }
    // What one may not change isn't told by conditions.
    app.share("alice", &file.id, "bob").await;
    let put = app.by("bob", Method::DELETE, &path).header("if-match", "\"7\"").send().await.unwrap();
    assert_eq!(put.status(), 403);
    let put = app.put("alice", &file.id, "*", "new").header("if-none-match", "\"2\"").send().await.unwrap();
    assert_eq!(put.status(), 200);
}

#[tokio::test]
async fn a_range_of_an_empty_file_is_the_whole_of_it() {
    let app = App::start().await;
    let path = format!("/files/{}", app.upload("alice", "empty", "").await.id);
    for range in ["bytes=0-", "bytes=0-0", "bytes=-5"] {
        let answer = call(&app, &Method::GET, &path, &[("range", range)]).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "content-length")), (200, "0"), "{range}");
    }
}

#[tokio::test]
async fn answers_say_what_caches_may_do_and_who_has_one_gets_304() {
    let app = App::start().await;
    // Enough that the list is compressed for who takes it so.
    for _ in 0..5 {
        app.upload("alice", "a", "x").await;
    }
    let id = app.upload("alice", "a", "x").await.id;
    let (file, meta, history) = (format!("/files/{id}"), format!("/files/{id}/meta"), format!("/files/{id}/history"));
    let shares = format!("/shares/{id}");
    for (path, policy) in [
        ("/files", "private, no-cache"),
        (&file, "private, no-cache"),
        (&meta, "private, no-cache"),
        (&history, "private, no-cache"),
        (&shares, "private, no-cache"),
        ("/peers", "no-cache"),
        ("/topology", "no-cache"),
        ("/openapi.json", "no-cache"),
    ] {
        let first = call(&app, &Method::GET, path, &[]).await;
        assert_eq!((first.status().as_u16(), header(&first, "cache-control")), (200, policy), "{path}");
        let varies = first.headers().get_all("vary").iter().any(|vary| vary == "x-user-id");
        assert_eq!(varies, policy.starts_with("private"), "{path}");
        let tag = header(&first, "etag").to_owned();
        let again = call(&app, &Method::GET, path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.as_str()), "{path}");
        assert_eq!(header(&again, "cache-control"), policy, "{path}");
        let vary = |answer: &Response| answer.headers().get_all("vary").iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(vary(&again), vary(&first), "{path}");
        for (headers, status) in [(&[][..], 200), (&[("if-none-match", tag.as_str())], 304)] {
            let head = call(&app, &Method::HEAD, path, headers).await;
            assert_eq!(
                (head.status().as_u16(), header(&head, "etag"), vary(&head)),
                (status, tag.as_str(), vary(&first))
            );
        }
        assert!(again.bytes().await.unwrap().is_empty());
        assert_eq!(call(&app, &Method::GET, path, &[("if-none-match", "\"other\"")]).await.status(), 200, "{path}");
        assert_eq!(call(&app, &Method::GET, path, &[("if-match", "\"other\"")]).await.status(), 412, "{path}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(header(&call(&app, &Method::GET, path, &[]).await, "cache-control"), "no-store");
    }
    let list = header(&call(&app, &Method::GET, "/files", &[]).await, "etag").to_owned();
    app.upload("alice", "b", "y").await;
    assert_eq!(call(&app, &Method::GET, "/files", &[("if-none-match", &list)]).await.status(), 200, "another list");
}

#[tokio::test]
async fn json_is_compressed_and_contents_are_not() {
    let app = App::start().await;
    let content = app.upload("alice", "a", vec![b'x'; 100_000]).await;
    for n in 0..10 {
        app.upload("alice", &n.to_string(), "x").await;
    }
    let both = [("accept-encoding", "gzip, br")];
    let plain = call(&app, &Method::GET, "/files", &[]).await.bytes().await.unwrap();
    for (accepted, coding) in [("gzip", "gzip"), ("br", "br"), ("gzip;q=0, br", "br"), ("identity", ""), ("zstd", "")] {
        let list = call(&app, &Method::GET, "/files", &[("accept-encoding", accepted)]).await;
        assert_eq!(header(&list, "content-encoding"), coding, "{accepted}");
        let length = list.bytes().await.unwrap().len();
        assert!(
            if coding.is_empty() { length == plain.len() } else { length < plain.len() / 2 },
            "{accepted}: {length}"
        );
    }
    let list = call(&app, &Method::GET, "/files", &both).await;
    assert!(list.headers().get_all("vary").iter().any(|vary| vary == "accept-encoding"));
    let file = call(&app, &Method::GET, &format!("/files/{}", content.id), &both).await;
    assert_eq!((header(&file, "content-encoding"), header(&file, "content-length")), ("", "100000"));
    assert_eq!(header(&call(&app, &Method::GET, "/health", &both).await, "content-encoding"), "", "it is too small");
}

#[tokio::test]
async fn the_history_is_paged_from_the_newest() {
    let app = App::start().await;
    let file = app.upload("alice", "a", "1").await;
    for version in 2..=5 {
        let put = app.put("alice", &file.id, "*", &version.to_string()).send().await.unwrap();
        assert_eq!(put.status(), 200);
    }
    let (mut path, mut seen) = (format!("/files/{}/history?limit=2", file.id), Vec::new());
    loop {
        let answer = app.get("alice", &path).await;
        let next = header(&answer, "link").strip_prefix('<').and_then(|link| link.split_once('>'));
        let next = next.map(|(next, _)| next.to_owned());
        let page: Vec<FileOut> = answer.json().await.unwrap();
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|file| file.version));
        let Some(next) = next else { break };
        path = next;
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    for (query, status) in
        [("limit=0", 422), ("limit=501", 422), ("before=0", 422), ("after=1", 422), ("before=1", 200)]
    {
        let answer = app.get("alice", &format!("/files/{}/history?{query}", file.id)).await;
        assert_eq!(answer.status().as_u16(), status, "{query}");
    }
}

//! The dashboard's files, as browsers and proxies meet them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use reqwest::Method;

use crate::support::app::{App, assert_problem};

/// What the first load of the page may take on the wire, in bytes.
const FIRST_LOAD: usize = 220 * 1024;

/// What `href="…"`, `from "…"` and the like name in the page.
fn named(page: &str) -> Vec<&str> {
    let quoted = page.split('"').skip(1).step_by(2);
    quoted.filter(|name| [".js", ".wasm", ".css", ".svg"].iter().any(|end| name.ends_with(end))).collect()
}

#[tokio::test]
async fn the_page_is_asked_for_each_time_and_what_it_names_is_kept() {
    let app = App::start().await;
    let page = app.call(Method::GET, "/ui/").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.headers()["cache-control"].to_str().unwrap()), (200, "no-cache"));
    let page = page.text().await.unwrap();
    let names = named(&page);
    assert!(names.len() >= 5, "{page}");
    for name in names {
        assert!(!name.starts_with('/'), "{name} would miss a proxy's path");
        let answer = app.call(Method::GET, &format!("/ui/{}", name.trim_start_matches("./"))).send().await.unwrap();
        let keep = answer.headers()["cache-control"].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), keep), (200, "public, max-age=31536000, immutable"), "{name}");
    }
}

#[tokio::test]
async fn a_file_of_an_older_build_is_missing_and_not_a_page() {
    let app = App::start().await;
    for path in ["/ui/web.js", "/ui/web-0123456789abcdef.js", "/ui/a/style.css"] {
        let answer = app.call(Method::GET, path).send().await.unwrap();
        assert!(
            !answer.headers().get("cache-control").is_some_and(|keep| keep.to_str().unwrap().contains("immutable"))
        );
        assert_problem(answer, 404, "no-such-page").await;
    }
}

#[tokio::test]
async fn every_other_path_leads_to_the_page_wherever_a_proxy_puts_it() {
    let app = App::start().await;
    for (path, to) in [("/ui", "/ui/"), ("/ui/a", "./"), ("/ui/a/", "../"), ("/ui/a/b", "../"), ("/ui/a/b/c", "../../")]
    {
        let answer = app.call(Method::GET, path).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (307, to), "{path}");
    }
}

#[tokio::test]
async fn the_first_load_of_the_page_is_small() {
    let app = App::start().await;
    let page = app.call(Method::GET, "/ui/").send().await.unwrap().text().await.unwrap();
    // What is imported in the middle of a function is fetched when it is called.
    let later = |name: &str| page.contains(&format!("import(\"{name}\")"));
    let first = named(&page).into_iter().filter(|name| !later(name)).map(|name| name.trim_start_matches("./"));
    let first: BTreeSet<&str> = first.chain([""]).collect();
    let mut sum = 0;
    let mut told = "the first load: bytes on the wire, and unpacked\n".to_owned();
    for name in first {
        let path = format!("/ui/{name}");
        let plain = app.call(Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
        let sent = app.call(Method::GET, &path).header("accept-encoding", "gzip, br").send().await.unwrap();
        let sent = sent.bytes().await.unwrap();
        writeln!(told, "{:>9} {:>9}  {path}", sent.len(), plain.len()).unwrap();
        sum += sent.len();
    }
    writeln!(told, "{sum:>9} in all, of {FIRST_LOAD} that it may take").unwrap();
    // To be seen where tests pass, too.
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    assert!(sum <= FIRST_LOAD, "{told}");
}

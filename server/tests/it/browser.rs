//! The dashboard as a person uses it, in a real browser.

use std::io::Write;
use std::path::Path;

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder};
use server::log_lines::Line;
use shared::sim::outcome::simulate;
use shared::sim::scenario::Name;
use shared::wire::condition::Condition;
use shared::wire::rest::FileOut;
use tempfile::NamedTempFile;

use crate::support::app::App;
use crate::support::browser::Browser;
use crate::support::ports::free_ports;
use crate::support::process::Process;

/// What `shared`'s own tests pin, too.
const CHURN_32_SEED_1: &str = include_str!("../../../shared/tests/it/snapshots/churn-32-seed-1.digest");

fn serve(port: u16, dir: &Path) -> Process {
    let (port, dir) = (port.to_string(), dir.to_str().unwrap());
    let process = Process::start(&["serve", "--port", &port, "--peer-port", "0", "--peers", "5", "--data-dir", dir]);
    process.says(Line::Ready(None));
    process
}

/// A file to upload, and its name.
fn file(prefix: &str, bytes: &[u8]) -> (NamedTempFile, String) {
    let mut file = tempfile::Builder::new().prefix(prefix).suffix(".txt").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
    (file, name)
}

/// A call by the page's first user, past the page.
fn by_alice(method: Method, port: u16, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("http://127.0.0.1:{port}{path}")).header("x-user-id", "alice")
}

async fn files(user: &str, port: u16) -> Vec<FileOut> {
    let request = Client::new().get(format!("http://127.0.0.1:{port}/files")).header("x-user-id", user);
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_uploads_sees_it_spread_and_moves_peers() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/")).await;
    browser.sees("connection", "Connected").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;
    browser.has("[data-testid='topology']", "data-peers", "5").await;

    let (song, name) = file("song", b"heard it through the grapevine");
    browser.chooses("[data-testid='upload-input']", song.path()).await;
    browser.sees("file-row", &name).await;
    browser.sees("file-reach", "5 of 5 peers").await;
    let result = browser.sees("upload-progress", "after it was stored").await.text().await.unwrap();
    let reached = result.lines().find(|line| line.contains("after it was stored")).unwrap();
    assert!(reached.contains("5 of 5 peers, "), "{result}");

    browser.clicks("[data-testid='peer-start']").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 6).await;
    browser.sees("file-reach", "6 of 6 peers").await;
    browser.has("[data-testid='topology']", "data-peers", "6").await;
    browser.sees("upload-progress", "now 6 of 6 peers").await;
    browser.sees("upload-progress", reached).await;

    // Whose button goes, their successor gets the focus.
    browser.clicks("[data-testid='peer-row'][data-state='up'] [data-testid='peer-leave']").await;
    browser.counts("[data-testid='peer-row'][data-state='left']", 1).await;
    browser.has_focus("[data-state='left'] [data-testid='peer-rejoin']").await;
    browser.sees("file-reach", "5 of 5 peers").await;
    browser.clicks("[data-testid='peer-row'][data-state='up'] [data-testid='peer-kill']").await;
    browser.counts("[data-testid='peer-row'][data-state='killed']", 1).await;
    browser.has_focus("[data-state='killed'] [data-testid='peer-rejoin']").await;
    browser.sees("file-reach", "4 of 5 peers, 1 down").await;
    browser.clicks("[data-testid='peer-row'][data-state='killed'] [data-testid='peer-rejoin']").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;
    browser.has_focus("[data-state='up'] [data-testid='peer-leave']").await;
    browser.sees("file-reach", "5 of 5 peers").await;
    browser.sees("upload-progress", reached).await;
    browser.is_so("return !document.body.innerText.includes('came faster than')").await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_replaces_drops_cancels_retries_and_shares() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let _server = serve(port, dir.path());
    // A path that is no page's leads to the page.
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/ui/a/b")).await;
    browser.sees("connection", "Connected").await;
    let (one, name) = file("one", b"one");
    browser.chooses("[data-testid='upload-input']", one.path()).await;
    browser.sees("file-row", &name).await;
    browser.clicks("[data-testid='upload-end']").await; // dismissed

    // Replaced: the row that the upload came from changes, and the page goes on.
    let (two, second_name) = file("two", b"two");
    browser.chooses("[data-testid='file-replace']", two.path()).await;
    browser.sees("file-row", "v2").await;
    browser.sees("upload-progress", "5 of 5 peers").await;
    browser.clicks("[data-testid='upload-end']").await;

    // Dropped beside the box: uploaded all the same, and the page stays.
    let drop = "const data = new DataTransfer();
        data.items.add(new File(['dropped'], 'dropped.txt'));
        const happen = kind => document.querySelector('h1').dispatchEvent(
            new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        return [happen('dragover'), happen('drop')];";
    assert_eq!(
        browser.runs(drop).await.unwrap(),
        serde_json::json!([false, false]),
        "the browser leaves both to the page"
    );
    browser.sees("file-row", "dropped.txt").await;
    browser.clicks("[data-testid='upload-end']").await;

    // Cancelled on its way, then tried once more.
    let (large, large_name) = file("large", &vec![b'x'; 300_000]);
    browser.sends_slowly(Some(30_000)).await;
    browser.chooses("[data-testid='upload-input']", large.path()).await;
    browser.sees("upload-progress", " left").await;
    browser.clicks("[data-testid='upload-end']").await;
    browser.sees("upload-progress", "nothing was stored").await;
    browser.sends_slowly(None).await;
    browser.clicks("[data-testid='upload-retry']").await;
    browser.sees("file-row", &large_name).await;
    browser.clicks("[data-testid='upload-end']").await;

    // Somebody else is faster: trying once more doesn't replace theirs; the page says so, and does when told to.
    let third = files("alice", port).await.into_iter().find(|file| file.filename == second_name).unwrap();
    let row = format!("[data-file-id='{}']", third.id);
    browser.sends_slowly(Some(100_000)).await;
    browser.chooses(&format!("{row} [data-testid='file-replace']"), large.path()).await;
    browser.sees("upload-progress", " left").await;
    browser.clicks("[data-testid='upload-end']").await;
    browser.sees("upload-progress", "nothing was stored").await;
    let body = Form::new().part("uploaded", Part::bytes(b"theirs".as_slice()).file_name("theirs.txt"));
    let theirs =
        by_alice(Method::PUT, port, &format!("/files/{}", third.id)).header("if-match", "\"2\"").multipart(body);
    assert_eq!(theirs.send().await.unwrap().status(), 200);
    browser.sends_slowly(None).await;
    browser.clicks("[data-testid='upload-retry']").await;
    browser.sees("upload-progress", "version 3").await;
    browser.sees("upload-retry", "Replace the newer version").await;
    browser.clicks("[data-testid='upload-retry']").await;
    browser.sees("file-row", "v4").await;

    // Shared, without the mouse: the field has the focus, and then its button again.
    browser.clicks(&format!("{row} button[aria-expanded]")).await;
    browser.has_focus("[data-testid='share-with']").await;
    browser.finds("[data-testid='share-with']").await.send_keys("bob\n").await.unwrap();
    browser.sees("notice", "bob can now see").await;
    browser.has_focus(&format!("{row} button[aria-expanded='false']")).await;
    assert_eq!(files("bob", port).await.len(), 1);

    // Copying where the browser gives no clipboard, as on plain http.
    browser.runs("Object.defineProperty(navigator, 'clipboard', { value: undefined }); return null").await.unwrap();
    browser.clicks(".curl summary").await;
    browser.clicks(".curl[open] .commands button").await;
    browser
        .is_so("return /Copied|Selected/.test(document.querySelector('.curl[open] .commands button').innerText)")
        .await;
    let errors = browser.console_errors().await;
    let unexpected: Vec<_> = errors.iter().filter(|error| !error.contains("412")).collect();
    assert!(unexpected.is_empty(), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_server_that_hangs_stops_and_comes_back() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/ui/")).await;
    browser.sees("connection", "Connected").await;
    browser.sees("age", "heard").await;
    let (song, name) = file("song", b"la la");
    browser.chooses("[data-testid='upload-input']", song.path()).await;
    browser.sees("upload-progress", "5 of 5 peers").await;

    server.freeze();
    browser.sees("stale", "ago").await;
    browser.has("[data-testid='page']", "class", "page old").await;
    for action in ["peer-start", "peer-kill", "lab-run"] {
        browser.has(&format!("[data-testid='{action}']"), "aria-disabled", "true").await;
    }
    browser.clicks("[data-testid='peer-kill']").await;
    browser.sees("notice", "nothing was done").await;
    server.thaw();
    browser.sees("connection", "Connected").await;
    browser.counts("[data-testid='stale']", 0).await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;

    server.kill();
    browser.sees("connection", "Disconnected").await;
    browser.sees("stale", "ago").await;
    let _again = serve(port, dir.path());
    browser.sees("connection", "Connected").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;
    // Of what it saw, nothing is taken back.
    browser.sees("file-row", &name).await;
    browser.sees("file-reach", "5 of 5 peers").await;
    browser.sees("upload-progress", "5 of 5 peers").await;
    browser.counts("[data-testid='upload-progress'] [data-step='open']", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_keeps_anybody_from_using_the_page_in_either_theme() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/ui/")).await;
    browser.sees("connection", "Connected").await;
    let (song, _) = file("song", b"la la");
    browser.chooses("[data-testid='upload-input']", song.path()).await;
    browser.sees("upload-progress", "after it was stored").await;
    browser.clicks("[data-testid='peer-kill']").await;
    browser.counts("[data-testid='peer-row'][data-state='killed']", 1).await;
    browser.clicks("[data-testid='lab-run']").await;
    browser.finds("[data-testid='lab-race'] tbody tr").await;
    browser.clicks("[data-testid='file-row'] button[aria-expanded]").await;
    browser.finds("[data-testid='share-with']").await;
    let width = |width: u32| {
        browser.commands(
            "Emulation.setDeviceMetricsOverride",
            serde_json::json!({"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": false}),
        )
    };
    let check = async |when: &str| {
        for (scheme, pixels) in [("light", 1280), ("light", 360), ("dark", 360), ("dark", 1280)] {
            browser.prefers(scheme).await;
            width(pixels).await;
            let faults = browser.accessibility_faults().await;
            assert_eq!(faults, Vec::<String>::new(), "{scheme}, {pixels} pixels wide, {when}");
        }
    };
    check("connected").await;
    server.freeze();
    browser.sees("stale", "ago").await;
    check("while the server hangs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_shown_for_as_long_as_it_lasts_under_a_proxys_path_too() {
    let app = App::start_under("/vine").await;
    app.state.hub.raise(Condition::DamagedPeerState, "the state of peer 2 was set aside");
    let browser = Browser::open(&app.url("/vine/ui/")).await;
    browser.sees("conditions", "the state of peer 2 was set aside").await;
    browser.sees("event-row", "condition").await;
    browser.prefers("dark").await;
    assert_eq!(browser.accessibility_faults().await, Vec::<String>::new());
    app.state.hub.clear(Condition::DamagedPeerState);
    browser.counts("[data-testid='conditions'] li", 0).await;

    // Whatever the page asks for is beside it.
    let (song, name) = file("song", b"la la");
    browser.chooses("[data-testid='upload-input']", song.path()).await;
    browser.sees("file-row", &name).await;
    let paths = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)";
    let paths: Vec<String> = serde_json::from_value(browser.runs(paths).await.unwrap()).unwrap();
    assert!(paths.iter().any(|path| path == "/vine/files"), "{paths:?}");
    assert!(paths.iter().all(|path| path.starts_with("/vine/")), "{paths:?}");
    browser.is_so("return document.querySelector('.curl code').textContent.includes('/vine/files')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_in_the_page_gives_the_same_run_as_here() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let _server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/ui/")).await;
    browser.sees("connection", "Connected").await;
    let fetched =
        "return performance.getEntriesByType('resource').filter(entry => /simulator/.test(entry.name)).length";
    assert_eq!(browser.runs(fetched).await.unwrap(), 0, "before it is called");
    let there = browser.runs("return grapevine.simulate('churn', 32, 1);").await.unwrap();
    let here = simulate(Name::Churn, 32, 1).unwrap();
    assert_eq!(there, serde_json::to_string(&here).unwrap(), "the same, byte for byte");
    assert_eq!(here.digest, CHURN_32_SEED_1.trim_end());
    assert_eq!(browser.runs(fetched).await.unwrap(), 2, "its script and its module");
    let refused = browser.runs("return grapevine.simulate('chrun', 32, 1);").await.unwrap_err();
    assert!(refused.contains("no such scenario; there are one-sender"), "{refused}");
    browser.sees("connection", "Connected").await;
}

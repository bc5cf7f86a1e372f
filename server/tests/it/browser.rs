//! The dashboard as a person uses it, in a real browser.

use std::io::Write;

use shared::sim::outcome::simulate;
use shared::sim::scenario::Name;

use crate::support::browser::Browser;
use crate::support::ports::free_ports;
use crate::support::process::Process;

/// What `shared`'s own tests pin, too.
const CHURN_32_SEED_1: &str = include_str!("../../../shared/tests/it/snapshots/churn-32-seed-1.digest");

fn serve(port: u16, dir: &std::path::Path) -> Process {
    let (port, dir) = (port.to_string(), dir.to_str().unwrap());
    let process = Process::start(&["serve", "--port", &port, "--peer-port", "0", "--peers", "5", "--data-dir", dir]);
    process.says("Grapevine is ready");
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_uploads_sees_it_spread_and_moves_peers() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/")).await;
    browser.sees("connection", "Connected").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;
    browser.has("[data-testid='topology']", "data-peers", "5").await;

    let mut song = tempfile::Builder::new().prefix("song").suffix(".txt").tempfile().unwrap();
    song.write_all(b"heard it through the grapevine").unwrap();
    let name = song.path().file_name().unwrap().to_str().unwrap().to_owned();
    browser.finds("[data-testid='upload-input']").await.send_keys(song.path().to_str().unwrap()).await.unwrap();
    browser.sees("file-row", &name).await;
    browser.sees("file-reach", "5 of 5 peers").await;

    browser.finds("[data-testid='peer-start']").await.click().await.unwrap();
    browser.counts("[data-testid='peer-row'][data-state='up']", 6).await;
    browser.sees("file-reach", "6 of 6 peers").await;
    browser.has("[data-testid='topology']", "data-peers", "6").await;

    browser.finds("[data-testid='peer-row'][data-state='up'] [data-testid='peer-leave']").await.click().await.unwrap();
    browser.counts("[data-testid='peer-row'][data-state='left']", 1).await;
    browser.finds("[data-testid='peer-row'][data-state='up'] [data-testid='peer-kill']").await.click().await.unwrap();
    browser.counts("[data-testid='peer-row'][data-state='killed']", 1).await;
    browser
        .finds("[data-testid='peer-row'][data-state='killed'] [data-testid='peer-rejoin']")
        .await
        .click()
        .await
        .unwrap();
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_survives_a_restart_of_the_server() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/ui/")).await;
    browser.sees("connection", "Connected").await;
    server.kill();
    browser.sees("connection", "Disconnected").await;
    let _again = serve(port, dir.path());
    browser.sees("connection", "Connected").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_in_the_page_gives_the_same_run_as_here() {
    let (dir, [port]) = (tempfile::tempdir().unwrap(), free_ports());
    let _server = serve(port, dir.path());
    let browser = Browser::open(&format!("http://127.0.0.1:{port}/ui/")).await;
    browser.sees("connection", "Connected").await;
    let there = browser.runs("return (await import('/ui/web.js')).simulate('churn', 32, 1);").await.unwrap();
    let here = simulate(Name::Churn, 32, 1).unwrap();
    assert_eq!(there, serde_json::to_string(&here).unwrap(), "the same, byte for byte");
    assert_eq!(here.digest, CHURN_32_SEED_1.trim_end());
    let refused = browser.runs("return (await import('/ui/web.js')).simulate('chrun', 32, 1);").await.unwrap_err();
    assert!(refused.contains("no such scenario; there are one-sender"), "{refused}");
    browser.sees("connection", "Connected").await;
}

//! The calls that start, disturb and show peers, and those of the lab.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use server::contact::{self, Contact};
use server::dial::HostPort;
use server::log_lines::Line;
use shared::wire::condition::Condition;
use shared::wire::event::PeerState;
use shared::wire::lab::{LabRunOut, LabState};
use shared::wire::rest::{PeerOut, TopologyOut};

use crate::support::app::{App, assert_problem, eventually};
use crate::support::ports::free_ports;
use crate::support::process::Process;

async fn post(app: &App, path: &str, body: &Value) -> Response {
    app.call(Method::POST, path).json(body).send().await.unwrap()
}

#[tokio::test]
async fn peers_start_leave_die_and_come_back() {
    let app = App::start().await;
    let started = app.call(Method::POST, "/peers").send().await.unwrap();
    assert_eq!(started.status(), 201);
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    let peer: PeerOut = started.json().await.unwrap();
    assert_eq!((location, peer.state), (format!("/peers/{}", peer.id), PeerState::Up));
    let actions = format!("/peers/{}/actions", peer.id);
    let killed: PeerOut = post(&app, &actions, &json!({ "action": "kill" })).await.json().await.unwrap();
    assert_eq!(killed.state, PeerState::Killed);
    assert_problem(post(&app, &actions, &json!({ "action": "kill" })).await, 409, "conflict").await;
    let back: PeerOut = post(&app, &actions, &json!({ "action": "rejoin" })).await.json().await.unwrap();
    assert_eq!((back.state, back.id.as_str()), (PeerState::Up, peer.id.as_str()));
    let leave = app.call(Method::DELETE, &format!("/peers/{}", peer.id)).send().await.unwrap();
    assert_eq!(leave.status(), 204);
    assert_eq!(listed(&app).await.iter().map(|peer| peer.state).collect::<Vec<_>>(), [PeerState::Left]);
}

async fn listed(app: &App) -> Vec<PeerOut> {
    app.call(Method::GET, "/peers").send().await.unwrap().json().await.unwrap()
}

async fn started(app: &App) -> PeerOut {
    let started = app.call(Method::POST, "/peers").send().await.unwrap();
    assert_eq!(started.status(), 201);
    started.json().await.unwrap()
}

async fn deleted(app: &App, peer: &PeerOut) -> u16 {
    app.call(Method::DELETE, &format!("/peers/{}", peer.id)).send().await.unwrap().status().as_u16()
}

async fn forgotten(app: &App, peer: &PeerOut) -> Response {
    app.call(Method::DELETE, &format!("/peers/{}?forget=true", peer.id)).send().await.unwrap()
}

#[tokio::test]
async fn a_peer_whose_state_is_damaged_comes_back_under_a_new_id_and_the_answer_tells_it() {
    let app = App::start().await;
    let peer = started(&app).await;
    let actions = format!("/peers/{}/actions", peer.id);
    assert_eq!(post(&app, &actions, &json!({ "action": "kill" })).await.status(), 200);
    for entry in std::fs::read_dir(app.dir.join("peers/1")).unwrap() {
        std::fs::write(entry.unwrap().path(), "nonsense".repeat(1000)).unwrap();
    }
    let answer = post(&app, &actions, &json!({ "action": "rejoin" })).await;
    assert_eq!(answer.status(), 200);
    let back: PeerOut = answer.json().await.unwrap();
    assert_ne!(back.id, peer.id);
    assert_eq!((back.addr, back.state), (peer.addr, PeerState::Up));
}

#[tokio::test]
async fn a_stopped_peer_is_forgotten_with_all_that_it_kept_when_that_is_said() {
    let app = App::start().await;
    let (first, second) = (started(&app).await, started(&app).await);
    let dirs = || std::fs::read_dir(app.dir.join("peers")).unwrap().count();
    assert_eq!((deleted(&app, &first).await, dirs()), (204, 2));
    assert_eq!(listed(&app).await.len(), 2, "it may come back");
    assert_eq!((deleted(&app, &first).await, dirs()), (409, 2), "asking twice to leave forgets nothing");
    assert_problem(forgotten(&app, &second).await, 409, "conflict").await;
    assert_eq!((forgotten(&app, &first).await.status().as_u16(), dirs()), (204, 1));
    let left: Vec<String> = listed(&app).await.into_iter().map(|peer| peer.id).collect();
    assert_eq!(left, [second.id], "it is no member any more");
    assert_eq!(deleted(&app, &first).await, 404);
    let back = post(&app, &format!("/peers/{}/actions", first.id), &json!({ "action": "rejoin" })).await;
    assert_problem(back, 404, "not-found").await;
    assert_ne!(started(&app).await.id, first.id, "its place is free for somebody else");
}

#[tokio::test]
async fn peers_that_left_fill_no_place_of_those_that_run() {
    let app = App::start().await;
    let mut peers = Vec::new();
    for _ in 0..5 {
        let peer = started(&app).await;
        assert_eq!(deleted(&app, &peer).await, 204);
        peers.push(peer);
    }
    assert_eq!(listed(&app).await.len(), 5, "each may come back");
    started(&app).await;
    started(&app).await;
    assert_problem(app.call(Method::POST, "/peers").send().await.unwrap(), 409, "conflict").await;
    let back = post(&app, &format!("/peers/{}/actions", peers[0].id), &json!({ "action": "rejoin" })).await;
    assert_problem(back, 409, "conflict").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peers_of_a_copied_data_directory_get_new_ids_when_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let words =
        ["serve", "--port", "0", "--peer-port", "0", "--peers", "2", "--data-dir", dir.path().to_str().unwrap()];
    let ids = |more: &[&str]| {
        let server = Process::start(&[&words[..], more].concat());
        server.says(Line::Ready(None));
        let (_, said) = server.stop();
        let ids: BTreeSet<String> =
            said.iter().filter_map(|line| Some(line.split_once("peer.id=")?.1.trim().to_owned())).collect();
        assert_eq!(ids.len(), 2, "{said:?}");
        ids
    };
    let first = ids(&[]);
    assert_eq!(ids(&[]), first);
    let second = ids(&["--new-identity"]);
    assert!(second.is_disjoint(&first));
    assert_eq!(ids(&[]), second, "they keep the new ones");
}

#[tokio::test]
async fn two_peers_are_linked_and_a_third_is_too_many() {
    let app = App::start().await;
    for _ in 0..2 {
        assert_eq!(app.call(Method::POST, "/peers").send().await.unwrap().status(), 201);
    }
    assert_problem(app.call(Method::POST, "/peers").send().await.unwrap(), 409, "conflict").await;
    eventually("the peers are linked", async || {
        let topology = app.call(Method::GET, "/topology").send().await.unwrap().json::<TopologyOut>().await.unwrap();
        topology.peers.unwrap().len() == 2 && topology.links.unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn what_peers_cannot_do_is_told() {
    let app = App::start().await;
    let unknown = format!("/peers/{}", "ab".repeat(32));
    for path in [unknown.as_str(), "/peers/nonsense"] {
        assert_problem(app.call(Method::DELETE, path).send().await.unwrap(), 404, "not-found").await;
        let kill = post(&app, &format!("{path}/actions"), &json!({ "action": "kill" })).await;
        assert_problem(kill, 404, "not-found").await;
    }
    let explode = post(&app, &format!("{unknown}/actions"), &json!({ "action": "explode" })).await;
    assert_problem(explode, 422, "invalid").await;
}

#[tokio::test]
async fn the_lab_runs_once_at_a_time() {
    let app = App::start().await;
    let config = json!({ "packets": 2, "work_ms": 20, "race_ms": 20 });
    let started = post(&app, "/lab/runs", &config).await;
    assert_eq!(started.status(), 202);
    let path = started.headers()["location"].to_str().unwrap().to_owned();
    assert_problem(post(&app, "/lab/runs", &config).await, 409, "conflict").await;
    let run = async || app.call(Method::GET, &path).send().await.unwrap().json::<LabRunOut>().await.unwrap();
    eventually("the run is over", async || run().await.state == LabState::Finished).await;
    assert_eq!(run().await.race.len(), 4);
    assert_problem(post(&app, "/lab/runs", &json!({ "producers": 99 })).await, 422, "invalid").await;
    assert_problem(post(&app, "/lab/runs", &json!({ "producer": 1 })).await, 422, "invalid").await;
    assert_problem(app.call(Method::GET, "/lab/runs/nonsense").send().await.unwrap(), 404, "not-found").await;
}

#[tokio::test]
async fn a_server_without_peers_asks_a_contact_for_the_overlay() {
    let (others, own) = (App::start().await, App::start().await);
    for _ in 0..2 {
        assert_eq!(others.call(Method::POST, "/peers").send().await.unwrap().status(), 201);
    }
    let [closed] = free_ports();
    let entries = others.state.swarm.entries().borrow().clone();
    let dead = HostPort::from(SocketAddr::from(([127, 0, 0, 1], closed)));
    let contact = Contact::new([vec![dead.clone()], entries].concat(), "grapevine").unwrap();
    let asking = own.with_contact(contact.clone()).await;
    eventually("the overlay is told", async || {
        let topology = asking.call(Method::GET, "/topology").send().await.unwrap().json::<TopologyOut>().await.unwrap();
        topology.peers.is_some_and(|peers| peers.len() == 2) && topology.links.is_some_and(|links| links.len() == 1)
    })
    .await;

    let (hub, tasks) = (asking.state.hub.clone(), &asking.state.tasks);
    let nobody = Contact::new(vec![dead], "grapevine").unwrap();
    tasks.spawn(contact::watch(nobody, hub.clone(), tasks.token().clone()));
    let is_told = || hub.read(|overview| overview.conditions.contains_key(&Condition::OverlayUnreachable));
    eventually("it is told that nobody answers", async || is_told()).await;
}

//! The API on a port of its own, with a store in a temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use server::concurrency::Lab;
use server::contact::Contact;
use server::http::idempotency::KeysAtWork;
use server::http::limits::Limits;
use server::http::{AppState, HttpConfig, door, router};
use server::hub::Hub;
use server::shutdown::Tasks;
use server::store::{Store, StoreConfig};
use server::swarm::{Swarm, SwarmConfig};
use shared::gossip::config::Config;
use shared::wire::rest::FileOut;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The largest upload that the tests' server takes.
pub(crate) const UPLOAD_MAX: u64 = 1 << 20;
/// How long anything may take. Generous: the tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running API.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) state: AppState,
    pub(crate) dir: PathBuf,
    /// Removed with it.
    own_dir: Option<TempDir>,
}

impl App {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut app = Self::start_in(dir.path(), UPLOAD_MAX).await;
        app.own_dir = Some(dir);
        app
    }

    /// Where a proxy puts it under `path`.
    pub(crate) async fn start_under(path: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut app = Self::start_at(dir.path(), UPLOAD_MAX, path, StoreConfig::default()).await;
        app.own_dir = Some(dir);
        app
    }

    /// With its store in `dir`.
    pub(crate) async fn start_in(dir: &Path, upload_max: u64) -> Self {
        Self::start_with(dir, upload_max, StoreConfig::default()).await
    }

    /// With a store that is opened as `config` says.
    pub(crate) async fn start_with(dir: &Path, upload_max: u64, config: StoreConfig) -> Self {
        Self::start_at(dir, upload_max, "/", config).await
    }

    async fn start_at(dir: &Path, upload_max: u64, base_path: &str, config: StoreConfig) -> Self {
        Self::start_all(dir, base_path, config, (upload_max, Limits::default())).await
    }

    /// With other limits on its callers.
    pub(crate) async fn start_limited(upload_max: u64, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut app = Self::start_all(dir.path(), "/", StoreConfig::default(), (upload_max, limits)).await;
        app.own_dir = Some(dir);
        app
    }

    async fn start_all(dir: &Path, base_path: &str, config: StoreConfig, (upload_max, limits): (u64, Limits)) -> Self {
        let tasks = Tasks::default();
        let hub = Hub::new(1000, true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peers = SwarmConfig {
            host: address.ip(),
            first_port: 0,
            limit: 2,
            data_dir: Some(dir.join("peers")),
            new_identity: false,
            contacts: Vec::new(),
            gossip: Config::default(),
        };
        let state = AppState {
            store: Store::open(dir, config, hub.clone()).await.unwrap(),
            swarm: Swarm::new(peers, hub.clone(), &tasks),
            lab: Lab::new(hub.clone()),
            depths: None,
            contact: None,
            keys: KeysAtWork::default(),
            config: HttpConfig::new(upload_max, address.ip(), vec!["friend.example".parse().unwrap()])
                .under(base_path.parse().unwrap())
                .with_limits(limits),
            hub,
            tasks: tasks.clone(),
        };
        state.store.start_upkeep(&tasks);
        tasks.spawn(door::serve(listener, router(state.clone()), limits, tasks.clone()));
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { address, client, state, dir: dir.to_owned(), own_dir: None }
    }

    /// The same server at another address, where it asks `contact` for the overlay.
    pub(crate) async fn with_contact(&self, contact: Contact) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, client, dir) = (listener.local_addr().unwrap(), self.client.clone(), self.dir.clone());
        let state = AppState { contact: Some(contact), ..self.state.clone() };
        state.tasks.spawn(door::serve(listener, router(state.clone()), Limits::default(), state.tasks.clone()));
        Self { address, client, state, dir, own_dir: None }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A call by nobody.
    pub(crate) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// A call by a user.
    pub(crate) fn by(&self, user: &str, method: Method, path: &str) -> RequestBuilder {
        self.call(method, path).header("x-user-id", user)
    }

    pub(crate) async fn get(&self, user: &str, path: &str) -> Response {
        self.by(user, Method::GET, path).send().await.unwrap()
    }

    /// Uploads for `user` and gives what the server says of it.
    pub(crate) async fn upload(&self, user: &str, name: &str, bytes: impl Into<Vec<u8>>) -> FileOut {
        let form = form("uploaded", name, bytes);
        let answer = self.by(user, Method::POST, "/files").multipart(form).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    pub(crate) fn put(&self, user: &str, id: &str, if_match: &str, bytes: &str) -> RequestBuilder {
        let form = form("uploaded", "new.txt", bytes);
        self.by(user, Method::PUT, &format!("/files/{id}")).header("if-match", if_match).multipart(form)
    }

    pub(crate) async fn share(&self, user: &str, id: &str, target: &str) -> Response {
        let body = serde_json::json!({ "target_user_id": target });
        self.by(user, Method::POST, &format!("/shares/{id}")).json(&body).send().await.unwrap()
    }

    /// The files in the content store: names of whole ones, and how many are on their way.
    pub(crate) fn contents(&self) -> (Vec<String>, usize) {
        let names = |dir: PathBuf| {
            let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
            entries
                .map(|name| name.into_string().unwrap())
                .filter(|name| name != "tmp" && name != "lost")
                .collect::<Vec<_>>()
        };
        let dir = self.dir.join("contents");
        (names(dir.clone()), names(dir.join("tmp")).len())
    }

    /// Nothing is stored, known or told.
    pub(crate) async fn assert_no_trace(&self) {
        eventually("no temporary file is left", async || self.contents().1 == 0).await;
        assert_eq!(self.contents(), (vec![], 0));
        assert_eq!(self.state.store.outbox_counts().await.unwrap(), (0, 0));
        assert_eq!(self.get("alice", "/files").await.json::<Value>().await.unwrap(), serde_json::json!([]));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.state.tasks.cancel();
    }
}

pub(crate) fn form(field: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Form {
    let part = Part::bytes(bytes.into()).file_name(name.to_owned()).mime_str("text/plain").unwrap();
    Form::new().part(field.to_owned(), part)
}

/// Checks that an answer is this problem.
pub(crate) async fn assert_problem(answer: Response, status: u16, kind: &str) {
    assert_eq!(answer.status().as_u16(), status, "{}", answer.url());
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], format!("urn:grapevine:problem:{kind}"), "{problem}");
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_elapsed| panic!("{what}: not within {PATIENCE:?}"));
}

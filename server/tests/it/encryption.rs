//! Encryption that was asked for: nobody on the way reads anything, and who can't show who it is gets nothing.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use server::broker::amqp::Amqp;
use server::broker::{Broker as _, Message, Outcome, Publisher as _, explain};
use server::republish;
use server::shutdown::Tasks;
use server::site::Site;
use server::tls::Trust;
use server::watch;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::support::app::{App, eventually};
use crate::support::rabbit::Rabbit;

/// Far beyond what one step takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// What must not be read on the way.
const SECRETS: [&str; 6] = ["guest", "PLAIN", "AMQP", "confidential", "GET /ws", "POST /republish"];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_goes_to_an_amqps_url_can_be_read_on_the_way() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let rabbit = Rabbit::start_encrypted(&ours.cert(), &ours.key()).await;
    let tasks = Tasks::default();
    let recorder = Recorder::before(rabbit.encrypted_port(), &tasks).await;
    let broker = |authority: &Authority, port| broker(authority, "amqps", port);
    publishes_a_secret(&broker(&ours, recorder.port)).await;
    assert!(recorder.heard("localhost"), "it records");
    for secret in SECRETS {
        assert!(!recorder.heard(secret), "{secret} could be read");
    }

    let stranger = broker(&theirs, recorder.port).publisher().await.unwrap_err();
    let reason = explain(&stranger);
    assert!(reason.contains("no encrypted connection with localhost: ") && reason.contains("--ca-file"), "{reason}");
    let nobody = Amqp::new(&url("amqps", recorder.port), "secret").unwrap().publisher().await.unwrap_err();
    assert!(explain(&nobody).contains("no authority"), "{nobody}");
    let in_the_clear = Recorder::before(rabbit.port(), &tasks).await;
    let plain = explain(&broker(&ours, in_the_clear.port).publisher().await.unwrap_err());
    assert!(plain.contains("no encrypted connection with localhost: "), "{plain}");
    assert!(!in_the_clear.heard("guest"), "it was tried in the clear");
    publishes_a_secret(&Amqp::new(&url("amqp", in_the_clear.port), "secret").unwrap()).await;
    assert!(SECRETS[..4].iter().all(|secret| in_the_clear.heard(secret)), "the recorder would have seen it");
    tasks.shut_down(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_goes_to_an_https_address_can_be_read_on_the_way() {
    let (app, authority, tasks) = (App::start().await, Authority::new(), Tasks::default());
    let front = authority.listens_before(app.address, &tasks).await;
    let recorder = Recorder::before(front, &tasks).await;
    let (url, printed) = (format!("https://localhost:{}", recorder.port), Printed::default());
    let (mut out, trust, token) = (printed.clone(), authority.trust(), tasks.token().clone());
    tasks.spawn(async move { watch::run(&url.parse().unwrap(), Some(trust), false, &mut out, &token).await });
    eventually("the overview is printed", async || printed.text().contains("0 local peers run")).await;
    let (mut out, again) =
        (printed.clone(), Recorder::before(authority.listens_before(app.address, &tasks).await, &tasks).await);
    let url = format!("https://localhost:{}", again.port);
    republish::run(url.parse().unwrap(), Some(authority.trust()), None, &mut out).await.unwrap();
    assert!(printed.text().contains("0 versions are being published again"));
    for recorder in [recorder, again] {
        assert!(recorder.heard("localhost"), "it records");
        assert!(SECRETS.iter().all(|secret| !recorder.heard(secret)));
    }
    tasks.shut_down(LIMIT).await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_takes_the_connection_and_never_shakes_hands_is_given_up_soon() {
    let (listener, began) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), Instant::now());
    let site: Site = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let reason = republish::run(site, Some(Authority::new().trust()), None, &mut Printed::default()).await.unwrap_err();
    assert!(explain(&reason).contains("no answer within"), "{reason:?}");
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
}

#[test]
fn encryption_that_cannot_be_had_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let (empty, missing) = (dir.path().join("empty.pem"), "/nonexistent/ca.pem".to_owned());
    std::fs::write(&empty, "").unwrap();
    let empty = empty.display().to_string();
    for (words, reason) in [
        (vec!["serve", "--amqp-url", "https://localhost/", "--data-dir", &data], "--amqp-url"),
        (vec!["serve", "--amqp-url", "amqps://localhost/", "--ca-file", &missing, "--data-dir", &data], "ca.pem"),
        (vec!["bridge", "--peer", "localhost:1", "--amqp-url", "amqps://localhost/", "--ca-file", &empty], "empty.pem"),
        (vec!["bridge", "--peer", "localhost:1", "--amqp-url", "http://localhost/"], "--amqp-url"),
        (vec!["watch", "https://localhost:1", "--ca-file", &missing], "ca.pem"),
        (vec!["watch", "ftp://localhost"], "ftp"),
    ] {
        let done = Command::new(env!("CARGO_BIN_EXE_grapevine")).args(&words).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(reason), "{words:?}: {said}");
    }
    assert!(!Path::new(&data).exists(), "nothing was started");
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://guest:guest@localhost:{port}/%2f")
}

fn broker(authority: &Authority, scheme: &str, port: u16) -> Amqp {
    Amqp::new(&url(scheme, port), "secret").unwrap().with_trust(authority.trust())
}

async fn publishes_a_secret(broker: &Amqp) {
    let mut publisher = broker.publisher().await.unwrap();
    let body = br#"{"event":"file.uploaded","file_id":"f","name":"confidential"}"#.to_vec();
    let message = Message { id: Uuid::new_v4(), routing_key: "file.uploaded".to_owned(), body };
    publisher.send(vec![message]).await.unwrap();
    let outcomes = timeout(LIMIT, publisher.settled()).await.expect("nothing is settled").unwrap();
    assert!(matches!(&outcomes[..], [(_, Outcome::Taken)]), "{outcomes:?}");
}

/// An authority and a certificate for localhost that it signed.
struct Authority {
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        for (name, pem) in [("ca.pem", issuer.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(dir.path().join(name), pem).unwrap();
        }
        Self { dir }
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    fn trust(&self) -> Trust {
        Trust::new(Some(&self.dir.path().join("ca.pem"))).unwrap()
    }

    /// A front of `server` that encrypts, as localhost. Returns its port.
    async fn listens_before(&self, server: SocketAddr, tasks: &Tasks) -> u16 {
        let certificates = CertificateDer::pem_file_iter(self.cert()).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.key()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let token = tasks.token().clone();
        tasks.spawn(token.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (mut client, mut server) =
                    (acceptor.accept(stream).await.unwrap(), TcpStream::connect(server).await.unwrap());
                // One connection at a time is enough here.
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            }
        }));
        port
    }
}

/// A way to a port of this machine on which everything is written down.
struct Recorder {
    port: u16,
    record: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    async fn before(port: u16, tasks: &Tasks) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let recorder = Self { port: listener.local_addr().unwrap().port(), record: Arc::default() };
        let (record, group) = (recorder.record.clone(), tasks.clone());
        let token = tasks.token().clone();
        tasks.spawn(token.clone().run_until_cancelled_owned(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                for way in [
                    group.spawn(token.clone().run_until_cancelled_owned(carry(from_client, to_server, record.clone()))),
                    group.spawn(token.clone().run_until_cancelled_owned(carry(from_server, to_client, record.clone()))),
                ] {
                    drop(way);
                }
            }
        }));
        recorder
    }

    fn heard(&self, text: &str) -> bool {
        self.record.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    record: Arc<Mutex<Vec<u8>>>,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        record.lock().unwrap().extend_from_slice(&bytes[..count]);
        to.write_all(&bytes[..count]).await?;
    }
}

/// What was printed so far.
#[derive(Clone, Default)]
pub(crate) struct Printed {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Printed {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! A private RabbitMQ node on free ports of the loopback interface, with its own name server, data and cookie. Both
//! processes run under a guardian that kills them as soon as this process lets go of it, be it by a panic or by dying.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use server::broker::Broker as _;
use server::broker::amqp::{Amqp, DEFAULT_QUEUE};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::support::ports::free_ports;

/// Not `/usr/sbin/rabbitmq-server`, which changes the user and drops the environment.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
/// A node starts within 8 s on an idle machine; 16 s were measured under load.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Runs its arguments as a process group of their own, until its standard input ends.
const GUARDIAN: &str = r#"
set -m
"$@" </dev/null >>"$LOG" 2>&1 &
group=$!
echo "$group"
read -r _
kill -KILL -- "-$group" 2>/dev/null
wait "$group" 2>/dev/null
"#;

/// A group of processes that ends with this value, whatever happens to this process.
struct Guarded {
    guardian: Child,
    /// Closing it tells the guardian to kill.
    lifeline: Option<ChildStdin>,
    group: Pid,
}

impl Guarded {
    fn spawn(command: &[&str], log: &Path, environment: &[(&str, String)]) -> Self {
        let mut guardian = Command::new("bash")
            .args(["-c", GUARDIAN, "guardian"])
            .args(command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).create(true).open(log).unwrap())
            // So that Ctrl+C in the terminal leaves it the time to clean up.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut group = String::new();
        BufReader::new(guardian.stdout.take().unwrap()).read_line(&mut group).unwrap();
        let group = Pid::from_raw(group.trim().parse().unwrap()).unwrap();
        Self { lifeline: guardian.stdin.take(), guardian, group }
    }

    fn signal(&self, signal: Signal) {
        kill_process_group(self.group, signal).unwrap();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        self.guardian.wait().unwrap();
    }
}

/// The node. Fields are dropped from above to below.
pub(crate) struct Rabbit {
    node: Option<Guarded>,
    _names: Guarded,
    port: u16,
    encrypted_port: u16,
    environment: Vec<(&'static str, String)>,
    dir: TempDir,
}

impl Rabbit {
    /// A node that accepts connections.
    pub(crate) async fn start() -> Self {
        let mut rabbit = Self::prepare().await;
        rabbit.restart().await;
        rabbit
    }

    /// A node that doesn't run yet.
    pub(crate) async fn prepare() -> Self {
        let dir = tempfile::Builder::new().prefix("grapevine-rabbit").tempdir().unwrap();
        let [port, encrypted_port, distribution, names] = free_ports();
        let config = format!("listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\n");
        std::fs::write(dir.path().join("rabbitmq.conf"), config).unwrap();
        std::fs::write(dir.path().join("enabled_plugins"), "[].").unwrap();
        let environment = environment(dir.path(), [port, distribution, names]);
        let daemon = ["epmd", "-port", &names.to_string(), "-address", "127.0.0.1"];
        let name_server = Guarded::spawn(&daemon, &dir.path().join("epmd.log"), &environment);
        wait_for("the name server", async || TcpStream::connect((Ipv4Addr::LOCALHOST, names)).is_ok()).await;
        Self { node: None, _names: name_server, port, encrypted_port, environment, dir }
    }

    /// A node that accepts encrypted connections, too, and shows this certificate.
    pub(crate) async fn start_encrypted(certificate: &Path, key: &Path) -> Self {
        let mut rabbit = Self::prepare().await;
        let config = format!(
            "listeners.ssl.1 = 127.0.0.1:{}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n",
            rabbit.encrypted_port,
            certificate.display(),
            key.display()
        );
        let mut file = File::options().append(true).open(rabbit.dir.path().join("rabbitmq.conf")).unwrap();
        file.write_all(config.as_bytes()).unwrap();
        rabbit.restart().await;
        rabbit
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens for encrypted connections.
    pub(crate) fn encrypted_port(&self) -> u16 {
        self.encrypted_port
    }

    /// Where it is, for a command's flag.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Whether the node would find its queue again. RabbitMQ 3.10 writes the register of quorum queues with a delay;
    /// killed before that, it begins the queue anew, empty and without a leader.
    fn has_registered(&self, queue: &str) -> bool {
        let node = format!("grapevine{}@localhost", self.port);
        let register = self.dir.path().join("mnesia").join(&node).join("quorum").join(&node).join("names.dets");
        let bytes = std::fs::read(register).unwrap_or_default();
        bytes.windows(queue.len()).any(|window| window == queue.as_bytes())
    }

    /// The broker on this node.
    pub(crate) fn broker(&self) -> Amqp {
        self.broker_on(DEFAULT_QUEUE)
    }

    /// The same with another queue.
    pub(crate) fn broker_on(&self, queue: &str) -> Amqp {
        Amqp::new(&self.url(), queue).unwrap()
    }

    /// Has the node's administrator do something. Takes seconds.
    pub(crate) async fn ctl(&self, words: &[&str]) {
        let mut command = tokio::process::Command::new(CTL);
        command.args(["-q"]).args(words).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let done = command.output().await.unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
    }

    /// Starts the node (again) and waits until it serves.
    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        let (log, environment) = (self.dir.path().join("rabbit.log"), self.environment.clone());
        let spawned = spawn_blocking(move || Guarded::spawn(&[SERVER], &log, &environment));
        self.node = Some(spawned.await.unwrap());
        let broker = self.broker();
        wait_for("RabbitMQ", async || broker.dead_letters().await.is_ok()).await;
        wait_for("the register of queues", async || self.has_registered(DEFAULT_QUEUE)).await;
    }

    /// SIGKILL. Its end is waited for, which takes seconds on a busy machine: on a thread where nobody else waits.
    pub(crate) async fn kill(&mut self) {
        let node = self.node.take();
        spawn_blocking(move || drop(node)).await.unwrap();
    }

    /// SIGSTOP: the node hangs, its connections stay.
    pub(crate) fn freeze(&self) {
        self.node.as_ref().unwrap().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.node.as_ref().unwrap().signal(Signal::CONT);
    }
}

impl Drop for Rabbit {
    /// Shows what the node had to say when a test failed.
    fn drop(&mut self) {
        let Ok(logs) = std::fs::read_dir(self.dir.path().join("log")) else { return };
        for log in logs.flatten().filter(|_| std::thread::panicking()) {
            println!("{}:\n{}", log.path().display(), std::fs::read_to_string(log.path()).unwrap_or_default());
        }
    }
}

fn environment(dir: &Path, [port, distribution, names]: [u16; 3]) -> Vec<(&'static str, String)> {
    let path = |name: &str| dir.join(name).display().to_string();
    vec![
        ("HOME", path("")),
        ("ERL_EPMD_PORT", names.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODENAME", format!("grapevine{port}@localhost")),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_DIST_PORT", distribution.to_string()),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_PID_FILE", path("node.pid")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        // Without a shell between the guardian and the node, which would not wait for the node when it is killed.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
    ]
}

async fn wait_for(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + START_LIMIT;
    while !ready().await {
        assert!(Instant::now() < deadline, "{what} didn't start within {START_LIMIT:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

//! A process that runs some of the nodes, and does what its parent tells it: one JSON object a line, in and out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::bench::BenchError;
use crate::bench::arrivals::{Arrivals, Progress};
use crate::bench::baseline_tree;
use crate::bench::control::{Answer, Order, Publication, Status, Written};
use crate::bench::overlay::{self, Shared};
use crate::cli::bench::{BenchChild, System};
use crate::peer::conn::Traffic;
use crate::peer::log::Logs;
use crate::peer::pool::Pool;
use crate::shutdown::Tasks;

/// A pause shorter than this isn't worth a timer.
const TIMER_GRAIN: Duration = Duration::from_micros(800);
/// A publisher that has to wait for the slowest node gives up after this long without any progress.
const STUCK_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Node {
    Tree(baseline_tree::Node),
    Overlay(Box<overlay::Node>),
}

#[derive(Debug)]
struct Child {
    charge: BenchChild,
    nodes: Vec<Node>,
    arrivals: Vec<Arc<Arrivals>>,
    progress: Arc<Progress>,
    traffic: Arc<Traffic>,
}

/// Runs until the parent closes this process's standard input.
///
/// # Errors
/// When a node can't be started, or the parent is gone.
pub async fn run(charge: BenchChild) -> Result<(), BenchError> {
    let tasks = Tasks::default();
    let (mut child, addrs) = Child::start(charge, &tasks).await?;
    let mut out = tokio::io::stdout();
    let mut answer = Answer::Listening(addrs);
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        match out.write_all(&line).await.and(out.flush().await) {
            // The parent was interrupted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            told => told?,
        }
        let Some(order) = orders.next_line().await? else { break };
        answer = match child.obey(serde_json::from_str(&order)?).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(format!("{:#}", anyhow::Error::from(error))),
        };
    }
    tasks.cancel();
    Ok(())
}

impl Child {
    async fn start(charge: BenchChild, tasks: &Tasks) -> Result<(Self, Vec<SocketAddr>), BenchError> {
        let progress = Arc::new(Progress::open(&charge.progress, charge.nodes)?);
        let traffic = Arc::new(Traffic::default());
        let pool = charge.has_several().then(Pool::default);
        let shared = Shared { traffic: traffic.clone(), pool, logs: Logs::default() };
        let (mut nodes, mut arrivals, mut addrs) = (Vec::new(), Vec::new(), Vec::new());
        let mut ports = charge.ports.iter().copied();
        for node in charge.from..charge.to {
            let listener = listen(ports.next()).await?;
            addrs.push(listener.local_addr()?);
            let noted = Arc::new(Arrivals::new(node, charge.updates, progress.clone()));
            arrivals.push(noted.clone());
            nodes.push(match charge.system {
                System::Tree => Node::Tree(baseline_tree::Node::start(listener, noted, traffic.clone(), tasks)),
                System::Grapevine => {
                    let kept = overlay::kept(charge.files, charge.payload)?;
                    Node::Overlay(Box::new(overlay::Node::new(listener, kept, noted, shared.clone(), tasks)))
                }
            });
        }
        Ok((Self { charge, nodes, arrivals, progress, traffic }, addrs))
    }

    async fn obey(&mut self, order: Order) -> Result<Answer, BenchError> {
        Ok(match order {
            Order::Join { node, contact } => {
                match self.node(node)? {
                    Node::Tree(tree) => {
                        if let Some(parent) = contact {
                            tree.join(parent).await?;
                        }
                    }
                    Node::Overlay(peer) => peer.join(contact).await?,
                }
                Answer::Joined
            }
            Order::Status => Answer::Status(self.status().await),
            Order::Publish(publication) => Answer::Published(self.publish(publication).await?),
            Order::Times { first, count } => {
                Answer::Times(self.arrivals.iter().map(|arrivals| arrivals.times(first, count)).collect())
            }
            Order::Behind { updates } => {
                Answer::Behind(self.arrivals.iter().map(|arrivals| arrivals.behind(updates)).sum())
            }
            Order::Traffic => Answer::Traffic(Written {
                writes: self.traffic.writes.load(Ordering::Relaxed),
                bytes: self.traffic.bytes.load(Ordering::Relaxed),
                control: self.traffic.control.load(Ordering::Relaxed),
            }),
        })
    }

    fn node(&mut self, node: usize) -> Result<&mut Node, BenchError> {
        let place = node.checked_sub(self.charge.from).and_then(|place| self.nodes.get_mut(place));
        place.ok_or(BenchError::NoSuchNode(node))
    }

    async fn status(&self) -> Status {
        let mut status = Status::none();
        for node in &self.nodes {
            status = status.and(match node {
                Node::Tree(tree) => Status { neighbours: tree.neighbours().await, ..Status::none() },
                Node::Overlay(peer) => peer.status(),
            });
        }
        status
    }

    /// Returns how many it could publish before it gave up waiting.
    async fn publish(&mut self, publication: Publication) -> Result<usize, BenchError> {
        let Publication { node, first, stream, alive } = publication;
        let window = Window { size: stream.window, alive };
        let before = self.progress.read()?;
        let begin = Instant::now();
        let payload = self.charge.payload;
        for place in 0..stream.count {
            let done = u64::try_from(place).unwrap_or(u64::MAX);
            if !window.opens(done, &self.progress, &before).await? {
                return Ok(place);
            }
            let due = begin + Duration::from_micros(stream.gap_us.saturating_mul(done));
            if due > Instant::now() + TIMER_GRAIN {
                tokio::time::sleep_until(due).await;
            }
            match self.node(node)? {
                Node::Tree(tree) => tree.publish(first + place, payload).await,
                Node::Overlay(peer) => peer.publish(stream.files, first, place, payload).await?,
            }
        }
        Ok(stream.count)
    }
}

/// On this port, or on any if it is taken.
async fn listen(port: Option<u16>) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await {
        Err(_taken) if port.is_some() => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        listening => listening,
    }
}

/// How many updates may be on their way.
struct Window {
    /// 0: any number.
    size: u64,
    alive: Vec<usize>,
}

impl Window {
    /// Waits until an update may go. Returns whether it may; it may not when nothing moves any more.
    async fn opens(&self, done: u64, progress: &Progress, before: &[u64]) -> Result<bool, BenchError> {
        let mut moved = (0, Instant::now());
        if self.size == 0 {
            return Ok(true);
        }
        loop {
            let now = progress.read()?;
            let delivered = |node: &usize| Some(now.get(*node)?.saturating_sub(*before.get(*node)?));
            let slowest = self.alive.iter().filter_map(delivered).min().unwrap_or(u64::MAX);
            if done < slowest.saturating_add(self.size) {
                return Ok(true);
            }
            if slowest > moved.0 {
                moved = (slowest, Instant::now());
            } else if moved.1.elapsed() > STUCK_AFTER {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

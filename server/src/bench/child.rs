//! A process that runs some of the nodes, and does what its parent tells it: one JSON object a line, in and out.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::bench::BenchError;
use crate::bench::marks::{Marks, Progress};
use crate::bench::{overlay, tree};
use crate::cli::System;
use crate::peer::conn::Traffic;
use crate::shutdown::Tasks;

/// A pause shorter than this isn't worth a timer.
const TIMER_GRAIN: Duration = Duration::from_micros(800);
/// A publisher that has to wait for the slowest node gives up after this long without any progress.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What a child process is started with.
#[derive(Debug, Clone)]
pub struct Charge {
    /// What it runs.
    pub system: System,
    /// How many nodes there are in all.
    pub nodes: usize,
    /// Its first node.
    pub from: usize,
    /// The one after its last.
    pub to: usize,
    /// How many updates there may be.
    pub updates: usize,
    /// Bytes of an update.
    pub payload: usize,
    /// Where all processes count.
    pub progress: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The node connects to another.
    Join { node: usize, contact: Option<SocketAddr> },
    /// How many neighbours has the node that has the fewest?
    Neighbours,
    /// The node publishes, this far apart, at most `window` (if not 0) of them not yet everywhere among `alive`.
    Publish { node: usize, first: usize, count: usize, gap_us: u64, window: u64, alive: Vec<usize> },
    /// When did the nodes get these?
    Times { first: usize, count: usize },
    /// What was written?
    Traffic,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Where the nodes listen, in order.
    Listening(Vec<SocketAddr>),
    Joined,
    Neighbours(usize),
    /// So many were published.
    Published(usize),
    Times(Vec<Vec<u64>>),
    Traffic(Written),
    Failed(String),
}

/// What was written to sockets.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) writes: u64,
    pub(super) bytes: u64,
    pub(super) control: u64,
}

#[derive(Debug)]
enum Node {
    Tree(tree::Node),
    Overlay(Box<overlay::Node>),
}

#[derive(Debug)]
struct Child {
    charge: Charge,
    nodes: Vec<Node>,
    marks: Vec<Arc<Marks>>,
    progress: Arc<Progress>,
    traffic: Arc<Traffic>,
}

/// Runs until the parent closes this process's standard input.
///
/// # Errors
/// When a node can't be started, or the parent is gone.
pub async fn run(charge: Charge) -> Result<(), BenchError> {
    let tasks = Tasks::default();
    let (mut child, addrs) = Child::start(charge, &tasks).await?;
    let mut out = tokio::io::stdout();
    let mut answer = Answer::Listening(addrs);
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        out.write_all(&line).await?;
        out.flush().await?;
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
    async fn start(charge: Charge, tasks: &Tasks) -> Result<(Self, Vec<SocketAddr>), BenchError> {
        let progress = Arc::new(Progress::open(&charge.progress, charge.nodes)?);
        let traffic = Arc::new(Traffic::default());
        let (mut nodes, mut marks, mut addrs) = (Vec::new(), Vec::new(), Vec::new());
        for node in charge.from..charge.to {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addrs.push(listener.local_addr()?);
            let noted = Arc::new(Marks::new(node, charge.updates, progress.clone()));
            marks.push(noted.clone());
            nodes.push(match charge.system {
                System::Tree => Node::Tree(tree::Node::start(listener, noted, traffic.clone(), tasks)),
                System::Grapevine => {
                    Node::Overlay(Box::new(overlay::Node::new(listener, noted, traffic.clone(), tasks)))
                }
            });
        }
        Ok((Self { charge, nodes, marks, progress, traffic }, addrs))
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
            Order::Neighbours => Answer::Neighbours(self.fewest_neighbours().await),
            Order::Publish { node, first, count, gap_us, window, alive } => {
                let window = Window { size: window, alive };
                Answer::Published(self.publish(node, first..first + count, gap_us, &window).await?)
            }
            Order::Times { first, count } => {
                Answer::Times(self.marks.iter().map(|marks| marks.times(first, count)).collect())
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

    async fn fewest_neighbours(&self) -> usize {
        let mut fewest = usize::MAX;
        for node in &self.nodes {
            fewest = fewest.min(match node {
                Node::Tree(tree) => tree.neighbours().await,
                Node::Overlay(peer) => peer.neighbours(),
            });
        }
        fewest
    }

    /// Says how many it could publish before it gave up waiting.
    async fn publish(
        &mut self,
        node: usize,
        updates: std::ops::Range<usize>,
        gap_us: u64,
        window: &Window,
    ) -> Result<usize, BenchError> {
        let before = self.progress.read()?;
        let begin = Instant::now();
        let (first, count, payload) = (updates.start, updates.len(), self.charge.payload);
        for update in updates {
            let done = update - first;
            if !window.opens(u64::try_from(done).unwrap_or(u64::MAX), &self.progress, &before).await? {
                return Ok(done);
            }
            let due = begin + Duration::from_micros(gap_us.saturating_mul(u64::try_from(done).unwrap_or(u64::MAX)));
            if due > Instant::now() + TIMER_GRAIN {
                tokio::time::sleep_until(due).await;
            }
            match self.node(node)? {
                Node::Tree(tree) => tree.publish(update, payload).await,
                Node::Overlay(peer) => peer.publish(update, payload).await?,
            }
        }
        Ok(count)
    }
}

/// How many updates may be on their way.
struct Window {
    /// 0: any number.
    size: u64,
    alive: Vec<usize>,
}

impl Window {
    /// Waits until an update may go. Says whether it may; it may not when nothing moves any more.
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

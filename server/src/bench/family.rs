//! The parent's side: starts the child processes, tells them what to do, asks what came of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::bench::child::{Answer, Order, Written};
use crate::bench::kernel::{self, Memory};
use crate::bench::marks::Progress;
use crate::bench::{BenchError, Overlay, tree};
use crate::cli::System;

/// How long any answer may take that isn't the end of a publication.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// How long the nodes may take to find neighbours.
const JOIN_LIMIT: Duration = Duration::from_mins(2);
/// When no counter has moved for this long, the nodes themselves are asked.
const QUIET: Duration = Duration::from_millis(50);

/// The processes of one run.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) order: Overlay,
    kids: Vec<Kid>,
    addrs: Vec<SocketAddr>,
    progress: Progress,
    _dir: TempDir,
    next_update: usize,
}

#[derive(Debug)]
struct Kid {
    process: Child,
    pid: u32,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    from: usize,
    to: usize,
    alive: bool,
}

/// What all processes together had used at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) at: Instant,
    pub(super) cpu_us: u64,
    pub(super) wire_bytes: u64,
    pub(super) written: Written,
}

/// When the living nodes got some updates.
#[derive(Debug)]
pub(super) struct Times {
    /// By node: its number, and its times by update.
    pub(super) nodes: Vec<(usize, Vec<u64>)>,
}

impl Kid {
    async fn send(&mut self, order: &Order) -> Result<(), BenchError> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        Ok(self.orders.write_all(&line).await?)
    }

    async fn hear(&mut self, limit: Duration) -> Result<Answer, BenchError> {
        let line =
            timeout(limit, self.answers.next_line()).await.map_err(|_elapsed| BenchError::Silent(self.from))??;
        match serde_json::from_str(&line.ok_or(BenchError::Ended(self.from))?)? {
            Answer::Failed(reason) => Err(BenchError::Failed { node: self.from, reason }),
            answer => Ok(answer),
        }
    }

    async fn ask(&mut self, order: &Order) -> Result<Answer, BenchError> {
        self.send(order).await?;
        self.hear(ANSWER_LIMIT).await
    }
}

impl Family {
    /// Starts the processes; all listen, and nobody knows anybody.
    pub(super) async fn start(system: System, order: Overlay, updates: usize) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("grapevine-bench").tempdir_in(shared_memory())?;
        let path = dir.path().join("progress");
        let progress = Progress::open(&path, order.nodes)?;
        let program = std::env::current_exe()?;
        let mut kids = Vec::new();
        for number in 0..order.procs {
            let (from, to) = (number * order.nodes / order.procs, (number + 1) * order.nodes / order.procs);
            let flags = [
                ("--nodes", order.nodes),
                ("--from", from),
                ("--to", to),
                ("--updates", updates),
                ("--payload", order.payload),
            ];
            let mut command = Command::new(&program);
            command.args(["bench", "child", "--progress"]).arg(&path);
            command.arg("--system").arg(if system == System::Tree { "tree" } else { "grapevine" });
            for (flag, value) in flags {
                command.arg(flag).arg(value.to_string());
            }
            let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
            let mut process = spawned?;
            let (Some(orders), Some(answers), Some(pid)) = (process.stdin.take(), process.stdout.take(), process.id())
            else {
                return Err(BenchError::Ended(from));
            };
            let answers = BufReader::new(answers).lines();
            kids.push(Kid { process, pid, orders, answers, from, to, alive: true });
        }
        let mut addrs = Vec::new();
        for kid in &mut kids {
            if let Answer::Listening(listening) = kid.hear(ANSWER_LIMIT).await? {
                addrs.extend(listening);
            }
        }
        Ok(Self { order, kids, addrs, progress, _dir: dir, next_update: 0 })
    }

    /// All join, one after the other: in the tree below their parents, else through the first. Says how long it took
    /// until everybody had a neighbour.
    pub(super) async fn join(&mut self, system: System) -> Result<Duration, BenchError> {
        let began = Instant::now();
        for node in 0..self.order.nodes {
            let contact = match (system, node.checked_sub(1)) {
                (_, None) => None,
                (System::Tree, Some(before)) => self.addrs.get(before / tree::FAN_OUT).copied(),
                (System::Grapevine, Some(_)) => self.addrs.first().copied(),
            };
            self.kid_of(node)?.ask(&Order::Join { node, contact }).await?;
        }
        while self.order.nodes > 1 && self.fewest_neighbours().await? == 0 {
            if began.elapsed() > JOIN_LIMIT {
                return Err(BenchError::NeverJoined);
            }
            sleep(QUIET).await;
        }
        Ok(began.elapsed())
    }

    async fn fewest_neighbours(&mut self) -> Result<usize, BenchError> {
        let mut fewest = usize::MAX;
        for kid in &mut self.kids {
            if let Answer::Neighbours(count) = kid.ask(&Order::Neighbours).await? {
                fewest = fewest.min(count);
            }
        }
        Ok(fewest)
    }

    /// The nodes whose processes live.
    pub(super) fn alive(&self) -> Vec<usize> {
        self.kids.iter().filter(|kid| kid.alive).flat_map(|kid| kid.from..kid.to).collect()
    }

    /// How many processes there are, dead ones included.
    pub(super) fn processes(&self) -> usize {
        self.kids.len()
    }

    /// The nodes of a process.
    pub(super) fn nodes_of(&self, process: usize) -> Vec<usize> {
        self.kids.get(process).map(|kid| (kid.from..kid.to).collect()).unwrap_or_default()
    }

    /// Begins a publication, and says which update is its first.
    pub(super) async fn publish(
        &mut self,
        node: usize,
        count: usize,
        gap: Duration,
        window: u64,
    ) -> Result<usize, BenchError> {
        let (first, alive) = (self.next_update, self.alive());
        self.next_update += count;
        let gap_us = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        self.kid_of(node)?.send(&Order::Publish { node, first, count, gap_us, window, alive }).await?;
        Ok(first)
    }

    /// Waits for the end of a publication. Says how many were published.
    pub(super) async fn published(&mut self, node: usize, limit: Duration) -> Result<usize, BenchError> {
        match self.kid_of(node)?.hear(limit).await? {
            Answer::Published(count) => Ok(count),
            _ => Err(BenchError::Ended(node)),
        }
    }

    /// Waits until every living node has `count` updates from `first` on, or nothing has moved for `limit`.
    pub(super) async fn settle(&mut self, first: usize, count: usize, limit: Duration) -> Result<Times, BenchError> {
        let (mut seen, mut moved) = (self.progress.read()?, Instant::now());
        loop {
            sleep(Duration::from_micros(500)).await;
            let now = self.progress.read()?;
            if now != seen {
                (seen, moved) = (now, Instant::now());
                continue;
            }
            let all = self
                .alive()
                .iter()
                .all(|node| usize::try_from(seen.get(*node).copied().unwrap_or(0)).unwrap_or(0) >= self.next_update);
            if all || moved.elapsed() > QUIET {
                let times = self.times(first, count).await?;
                if times.missing() == 0 || moved.elapsed() > limit {
                    return Ok(times);
                }
                sleep(QUIET).await;
            }
        }
    }

    /// When the living nodes got some updates.
    pub(super) async fn times(&mut self, first: usize, count: usize) -> Result<Times, BenchError> {
        let mut nodes = Vec::new();
        for kid in self.kids.iter_mut().filter(|kid| kid.alive) {
            if let Answer::Times(times) = kid.ask(&Order::Times { first, count }).await? {
                nodes.extend((kid.from..kid.to).zip(times));
            }
        }
        Ok(Times { nodes })
    }

    /// What has been used so far.
    pub(super) async fn usage(&mut self) -> Result<Usage, BenchError> {
        let mut written = Written::default();
        let mut cpu_us = 0;
        for kid in self.kids.iter_mut().filter(|kid| kid.alive) {
            if let Answer::Traffic(more) = kid.ask(&Order::Traffic).await? {
                written.writes += more.writes;
                written.bytes += more.bytes;
                written.control += more.control;
            }
            cpu_us += kernel::cpu_us(kid.pid);
        }
        Ok(Usage { at: Instant::now(), cpu_us, wire_bytes: kernel::loopback_bytes(), written })
    }

    /// All living processes' memory together.
    pub(super) fn memory(&self) -> Memory {
        let each = self.kids.iter().filter(|kid| kid.alive).map(|kid| kernel::memory(kid.pid));
        each.fold(Memory::default(), |sum, one| Memory {
            resident: sum.resident + one.resident,
            private: sum.private + one.private,
        })
    }

    /// Sends a process the signal that can't be caught.
    pub(super) fn kill(&mut self, process: usize) -> Result<(), BenchError> {
        if let Some(kid) = self.kids.get_mut(process) {
            kid.process.start_kill()?;
            kid.alive = false;
        }
        Ok(())
    }

    /// Stops a process, or lets it go on.
    pub(super) fn signal(&self, process: usize, signal: Signal) -> Result<(), BenchError> {
        let pid = self.kids.get(process).and_then(|kid| Pid::from_raw(kid.pid.cast_signed()));
        Ok(kill_process(pid.ok_or(BenchError::NoSuchNode(process))?, signal).map_err(std::io::Error::from)?)
    }

    fn kid_of(&mut self, node: usize) -> Result<&mut Kid, BenchError> {
        let kid = self.kids.iter_mut().find(|kid| (kid.from..kid.to).contains(&node));
        kid.ok_or(BenchError::NoSuchNode(node))
    }
}

impl Times {
    /// How many deliveries there weren't.
    pub(super) fn missing(&self) -> usize {
        self.nodes.iter().map(|(_, times)| times.iter().filter(|time| **time == 0).count()).sum()
    }

    /// The same of some nodes only, or all but those.
    pub(super) fn only(&self, wanted: impl Fn(usize) -> bool) -> Self {
        Self { nodes: self.nodes.iter().filter(|(node, _)| wanted(*node)).cloned().collect() }
    }

    /// When an update was published: the first time that anybody had it.
    pub(super) fn published_ns(&self, update: usize) -> Option<u64> {
        self.of(update).filter(|time| *time > 0).min()
    }

    /// From an update's publication, wherever that was, until the last node had it; `None` where one hasn't.
    pub(super) fn last_delivery_ns(&self, update: usize, published_ns: u64) -> Option<u64> {
        let latest = self.of(update).try_fold(0, |latest, time| (time > 0).then_some(latest.max(time)))?;
        Some(latest.saturating_sub(published_ns))
    }

    fn of(&self, update: usize) -> impl Iterator<Item = u64> {
        self.nodes.iter().filter_map(move |(_, times)| times.get(update).copied())
    }
}

/// Where files are memory, if there is such a place.
fn shared_memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

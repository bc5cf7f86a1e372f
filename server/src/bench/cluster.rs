//! The parent's side: starts the child processes, tells them what to do, asks what came of it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::bench::arrivals::Progress;
use crate::bench::control::{Answer, Order, Publication, Status, Stream, Written};
use crate::bench::file_names::Files;
use crate::bench::procfs::{self, Memory};
use crate::bench::times::Times;
use crate::bench::{BenchError, baseline_tree};
use crate::cli::bench::{BenchGossip, Phase, System};

/// The group of the upper half's processes, which can be cut off: `nogroup`.
pub(super) const UPPER_GROUP: u32 = 65_534;
/// How long any answer may take that isn't the end of a publication.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// How long the nodes may take to find neighbours.
const JOIN_LIMIT: Duration = Duration::from_mins(2);
/// When no counter has moved for this long, the nodes themselves are asked.
const QUIET: Duration = Duration::from_millis(50);

/// The processes of one run.
#[derive(Debug)]
pub(super) struct Cluster {
    /// What was asked for on the command line.
    pub(super) order: BenchGossip,
    system: System,
    children: Vec<ChildProcess>,
    addrs: Vec<SocketAddr>,
    progress: Progress,
    /// How many updates there may be.
    updates: usize,
    next_update: usize,
}

#[derive(Debug)]
struct ChildProcess {
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
    /// When.
    pub(super) at: Instant,
    /// CPU time of all processes until then, in microseconds.
    pub(super) cpu_us: u64,
    /// What they had written to their links, in bytes.
    pub(super) wire_bytes: u64,
    /// What that was, and in how many calls.
    pub(super) written: Written,
}

impl ChildProcess {
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

    async fn listening(&mut self) -> Result<Vec<SocketAddr>, BenchError> {
        match self.hear(ANSWER_LIMIT).await? {
            Answer::Listening(addrs) => Ok(addrs),
            _ => Err(BenchError::Ended(self.from)),
        }
    }

    async fn ask(&mut self, order: &Order) -> Result<Answer, BenchError> {
        self.send(order).await?;
        self.hear(ANSWER_LIMIT).await
    }
}

impl Cluster {
    /// Starts the processes; all listen, and nobody knows anybody.
    pub(super) async fn start(system: System, order: &BenchGossip, updates: usize) -> Result<Self, BenchError> {
        let progress = Progress::new(order.nodes)?;
        let (children, addrs) = (Vec::new(), Vec::new());
        let mut cluster = Self { order: order.clone(), system, children, addrs, progress, updates, next_update: 0 };
        for number in 0..order.processes() {
            let child = cluster.spawn(number, order.files)?;
            cluster.children.push(child);
        }
        for child in &mut cluster.children {
            cluster.addrs.extend(child.listening().await?);
        }
        Ok(cluster)
    }

    /// Starts the process of that number, on the ports that it had if it was there before.
    fn spawn(&self, number: usize, files: usize) -> Result<ChildProcess, BenchError> {
        let BenchGossip { nodes, payload, .. } = self.order;
        let processes = self.order.processes();
        let (from, to) = (number * nodes / processes, (number + 1) * nodes / processes);
        let numbers = [nodes, from, to, files, self.updates, payload];
        let flags = ["--nodes", "--from", "--to", "--files", "--updates", "--payload"];
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "child", "--progress"]).arg(self.progress.path());
        command.arg("--system").arg(if self.system == System::Tree { "tree" } else { "grapevine" });
        for (flag, value) in flags.into_iter().zip(numbers) {
            command.arg(flag).arg(value.to_string());
        }
        for addr in self.addrs.iter().take(to).skip(from) {
            command.arg("--ports").arg(addr.port().to_string());
        }
        if self.order.phases.contains(&Phase::Split) && number >= processes / 2 {
            command.gid(UPPER_GROUP);
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (Some(orders), Some(answers), Some(pid)) = (process.stdin.take(), process.stdout.take(), process.id())
        else {
            return Err(BenchError::Ended(from));
        };
        Ok(ChildProcess { process, pid, orders, answers: BufReader::new(answers).lines(), from, to, alive: true })
    }

    /// Starts a dead process again: it listens where it did, has forgotten everything but so many files, and hasn't
    /// joined.
    pub(super) async fn restart(&mut self, process: usize, files: usize) -> Result<(), BenchError> {
        let old = self.children.get_mut(process).ok_or(BenchError::NoSuchNode(process))?;
        old.process.wait().await?;
        let mut child = self.spawn(process, files)?;
        let listening = child.listening().await?;
        for (slot, addr) in self.addrs.iter_mut().skip(child.from).zip(listening) {
            *slot = addr;
        }
        if let Some(slot) = self.children.get_mut(process) {
            *slot = child;
        }
        Ok(())
    }

    /// All join, one after the other. Returns how long it took until everybody had a neighbour.
    pub(super) async fn join(&mut self) -> Result<Duration, BenchError> {
        let began = Instant::now();
        for node in 0..self.order.nodes {
            self.join_node(node).await?;
        }
        self.all_joined(began).await
    }

    /// A node joins: in the tree below its parent, else through the first.
    pub(super) async fn join_node(&mut self, node: usize) -> Result<(), BenchError> {
        let contact = match (self.system, node.checked_sub(1)) {
            (_, None) => None,
            (System::Tree, Some(before)) => self.addrs.get(before / baseline_tree::FAN_OUT).copied(),
            (System::Grapevine, Some(_)) => self.addrs.first().copied(),
        };
        self.child_of(node)?.ask(&Order::Join { node, contact }).await.map(drop)
    }

    /// Waits until everybody has a neighbour. Returns how long that was after `began`.
    pub(super) async fn all_joined(&mut self, began: Instant) -> Result<Duration, BenchError> {
        while self.order.nodes > 1 && self.status(None).await?.neighbours == 0 {
            if began.elapsed() > JOIN_LIMIT {
                return Err(BenchError::NeverJoined);
            }
            sleep(QUIET).await;
        }
        Ok(began.elapsed())
    }

    /// How the living nodes fare, but for those of a process that can't answer.
    pub(super) async fn status(&mut self, but: Option<usize>) -> Result<Status, BenchError> {
        let mut status = Status::none();
        for (_, child) in
            self.children.iter_mut().enumerate().filter(|(number, child)| child.alive && Some(*number) != but)
        {
            if let Answer::Status(more) = child.ask(&Order::Status).await? {
                status = status.and(more);
            }
        }
        Ok(status)
    }

    /// How the nodes of one process fare.
    pub(super) async fn status_of(&mut self, process: usize) -> Result<Status, BenchError> {
        let child = self.children.get_mut(process).ok_or(BenchError::NoSuchNode(process))?;
        match child.ask(&Order::Status).await? {
            Answer::Status(status) => Ok(status),
            _ => Err(BenchError::Ended(child.from)),
        }
    }

    /// The nodes whose processes live.
    pub(super) fn alive(&self) -> Vec<usize> {
        self.children.iter().filter(|child| child.alive).flat_map(|child| child.from..child.to).collect()
    }

    /// How many processes there are, dead ones included.
    pub(super) fn processes(&self) -> usize {
        self.children.len()
    }

    /// The nodes of a process.
    pub(super) fn nodes_of(&self, process: usize) -> Vec<usize> {
        self.children.get(process).map(|child| (child.from..child.to).collect()).unwrap_or_default()
    }

    /// Where the nodes listen.
    pub(super) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Begins a publication, and says which update is its first.
    pub(super) async fn publish(&mut self, node: usize, stream: Stream) -> Result<usize, BenchError> {
        let (first, alive) = (self.next_update, self.alive());
        if !matches!(stream.files, Files::Untimed) {
            self.next_update += stream.count;
        }
        self.child_of(node)?.send(&Order::Publish(Publication { node, first, stream, alive })).await?;
        Ok(first)
    }

    /// Waits for the end of a publication. Returns how many were published.
    pub(super) async fn published(&mut self, node: usize, limit: Duration) -> Result<usize, BenchError> {
        match self.child_of(node)?.hear(limit).await? {
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
        for child in self.children.iter_mut().filter(|child| child.alive) {
            if let Answer::Times(times) = child.ask(&Order::Times { first, count }).await? {
                nodes.extend((child.from..child.to).zip(times));
            }
        }
        Ok(Times { nodes })
    }

    /// Waits until every living node knows all files in the last of so many untimed versions, or nothing has moved for
    /// `limit`. Returns how many they don't.
    pub(super) async fn settle_untimed(&mut self, updates: usize, limit: Duration) -> Result<usize, BenchError> {
        let (mut seen, mut moved) = (usize::MAX, Instant::now());
        loop {
            let mut behind = 0;
            for child in self.children.iter_mut().filter(|child| child.alive) {
                if let Answer::Behind(files) = child.ask(&Order::Behind { updates }).await? {
                    behind += files;
                }
            }
            if behind < seen {
                (seen, moved) = (behind, Instant::now());
            }
            if behind == 0 || moved.elapsed() > limit {
                return Ok(behind);
            }
            sleep(QUIET).await;
        }
    }

    /// What has been used so far.
    pub(super) async fn usage(&mut self) -> Result<Usage, BenchError> {
        let mut written = Written::default();
        let mut cpu_us = 0;
        for child in self.children.iter_mut().filter(|child| child.alive) {
            if let Answer::Traffic(more) = child.ask(&Order::Traffic).await? {
                written.writes += more.writes;
                written.bytes += more.bytes;
                written.control += more.control;
            }
            cpu_us += procfs::cpu_us(child.pid);
        }
        Ok(Usage { at: Instant::now(), cpu_us, wire_bytes: procfs::loopback_bytes(), written })
    }

    /// Each living process's memory, with its number.
    pub(super) fn memory(&self) -> impl Iterator<Item = (usize, Memory)> {
        self.children
            .iter()
            .enumerate()
            .filter(|(_, child)| child.alive)
            .map(|(number, child)| (number, procfs::memory(child.pid)))
    }

    /// Sends a process the signal that can't be caught.
    pub(super) fn kill(&mut self, process: usize) -> Result<(), BenchError> {
        if let Some(child) = self.children.get_mut(process) {
            child.process.start_kill()?;
            child.alive = false;
        }
        Ok(())
    }

    /// Stops a process, or lets it go on.
    pub(super) fn signal(&self, process: usize, signal: Signal) -> Result<(), BenchError> {
        let pid = self.children.get(process).and_then(|child| Pid::from_raw(child.pid.cast_signed()));
        Ok(kill_process(pid.ok_or(BenchError::NoSuchNode(process))?, signal).map_err(std::io::Error::from)?)
    }

    fn child_of(&mut self, node: usize) -> Result<&mut ChildProcess, BenchError> {
        let child = self.children.iter_mut().find(|child| (child.from..child.to).contains(&node));
        child.ok_or(BenchError::NoSuchNode(node))
    }
}

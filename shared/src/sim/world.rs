//! Hosts and the queue: the second driver of [`Node`], after the server's. What a scenario does to the
//! hosts is in [`actions`], what goes over links in [`links`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::io::{Input, JournalSeq, LinkId, NodeEvent, Output};
use crate::gossip::node::Node;
use crate::ids::{FileId, Version};
use crate::rng::Rng;
use crate::sim::check::{self, Violation};
use crate::sim::host::{Host, Life, host_at};
use crate::sim::network::Wires;
use crate::sim::queue::Queue;
use crate::sim::report::{Report, Survivor, Tally};
use crate::sim::scenario::{Action, Scenario};
use crate::sim::story::{Story, Told};
use crate::time::Instant;
use crate::wire::frame::Decoder;
use crate::wire::update::FileUpdate;

mod actions;
mod links;

/// How long a dial to a host that doesn't run takes to fail.
const DIAL_FAILS_AFTER: Duration = Duration::from_millis(5);
/// How long a dial takes to fail when nothing at all comes back, as the server's driver has it.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// Wall time when a run begins, in milliseconds since 1970: far enough from 0 that nothing saturates.
const BEGAN_MS: u64 = 1_700_000_000_000;

#[derive(Debug)]
enum Scheduled {
    Act(Action),
    Dialled { from: Life, addr: SocketAddr },
    Arrives { link: LinkId, to: Life, frame: Arc<[u8]> },
    Closed { link: LinkId, to: Life },
    Committed { host: Life, seq: JournalSeq },
    Wake { host: Life },
}

/// A run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    rng: Rng,
    now: Instant,
    queue: Queue<Scheduled>,
    hosts: Vec<Host>,
    /// By the numbers of their links.
    wires: Wires,
    /// What comes is decoded with it.
    decoder: Decoder,
    /// What a node wants done, while that is carried out.
    outputs: Vec<Output>,
    published: BTreeMap<(FileId, Version), Vec<FileUpdate>>,
    /// What came for paused hosts.
    waiting: BTreeMap<usize, Vec<Scheduled>>,
    tally: Tally,
    /// What is told to who watches, if anybody does: it costs a peer's every event.
    story: Option<Story>,
    trace: blake3::Hasher,
}

impl World {
    /// The run of a scenario, before its first step.
    pub fn new(scenario: Scenario) -> Self {
        let mut queue = Queue::new();
        for (at, action) in &scenario.actions {
            queue.push(Instant::START + *at, Scheduled::Act(*action));
        }
        Self {
            rng: Rng::from_seed(scenario.seed ^ 0x5eed),
            now: Instant::START,
            hosts: (0..scenario.hosts).map(|_| Host::default()).collect(),
            wires: Wires::default(),
            decoder: Decoder::default(),
            outputs: Vec::new(),
            published: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tally: Tally::new(Instant::START + scenario.measured_from),
            story: None,
            trace: blake3::Hasher::new(),
            queue,
            scenario,
        }
    }

    /// The same, for somebody who watches it with [`World::take_story`] as if these hosts were the peers of one server: of
    /// all others she is told what these hear.
    #[must_use]
    pub fn with_story(self, ours: Range<usize>) -> Self {
        Self { story: Some(Story::of(ours)), ..self }
    }

    /// What has happened since this was asked the last time, in order; nothing without [`World::with_story`]. It grows
    /// until it is asked for.
    pub fn take_story(&mut self) -> Vec<Told> {
        self.story.as_mut().map(Story::take).unwrap_or_default()
    }

    /// Runs the faults, and then until everybody who can reach each other agrees, at most `limit` longer. Returns how
    /// long that took.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&mut self, limit: Duration) -> Result<Duration, Violation> {
        let healed = Instant::START + self.scenario.faults_end;
        self.run_until(healed)?;
        for host in 0..self.hosts.len() {
            self.act(Action::Partition(host, 0))?;
            self.act(Action::Pause(host, false))?;
        }
        self.scenario.network.lost = 0;
        let (mut step, mut verdict) = (Duration::from_millis(100), self.check_convergence(Duration::ZERO));
        while verdict.is_err() && self.now - healed < limit {
            self.run_until(self.now + step)?;
            step = ((self.now - healed) / 10).max(step);
            verdict = self.check_convergence(self.now - healed);
        }
        verdict.map(|()| self.now - healed)
    }

    /// What the run was like.
    pub fn report(&self) -> Report {
        let overlays = self.overlays();
        let alive = self.nodes().map(|(host, node)| {
            let overlay = overlays.get(&host).copied().unwrap_or(host);
            Survivor { host, overlay, catalogue: node.catalogue() }
        });
        self.tally.report(alive, Instant::START + self.scenario.fault_at)
    }

    /// A hash of everything that arrived anywhere, and when: the same for the same seed, on every target.
    pub fn digest(&self) -> String {
        self.trace.finalize().to_hex().to_string()
    }

    /// The nodes that run.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.hosts.iter().enumerate().filter_map(|(index, host)| Some((index, host.node.as_deref()?)))
    }

    /// Runs until a moment.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run_until(&mut self, end: Instant) -> Result<(), Violation> {
        while let Some((at, happening)) = self.queue.pop_before(end) {
            self.now = at;
            self.happen(happening)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, happening: Scheduled) -> Result<(), Violation> {
        let Some(happening) = self.unless_paused(happening) else { return Ok(()) };
        match happening {
            Scheduled::Act(action) => self.act(action),
            Scheduled::Dialled { from, addr } => self.dialled(from, addr),
            Scheduled::Arrives { link, to, frame } => self.arrives(link, to, &frame),
            Scheduled::Closed { link, to } => self.closed(link, to),
            Scheduled::Committed { host, seq } => self.committed(host, seq),
            Scheduled::Wake { host } => self.wake(host),
        }
    }

    /// What happens to a paused host waits.
    fn unless_paused(&mut self, happening: Scheduled) -> Option<Scheduled> {
        let to = match &happening {
            Scheduled::Act(_) => return Some(happening),
            Scheduled::Dialled { from: to, .. }
            | Scheduled::Arrives { to, .. }
            | Scheduled::Closed { to, .. }
            | Scheduled::Committed { host: to, .. }
            | Scheduled::Wake { host: to } => to.host,
        };
        if self.hosts.get(to).is_some_and(|host| host.paused) {
            self.waiting.entry(to).or_default().push(happening);
            return None;
        }
        Some(happening)
    }

    /// Now, in milliseconds since 1970.
    fn wall_ms(&self) -> u64 {
        BEGAN_MS + self.now.as_micros() / 1000
    }

    // --- nodes --------------------------------------------------------------------------------------------------

    fn life(&self, index: usize) -> Option<Life> {
        let host = self.hosts.get(index)?;
        host.node.as_ref().map(|_| Life { host: index, start: host.starts })
    }

    fn feed(&mut self, life: Life, input: Input) -> Result<(), Violation> {
        if self.life(life.host) != Some(life) {
            return Ok(());
        }
        let Some(node) = self.hosts.get_mut(life.host).and_then(|host| host.node.as_mut()) else { return Ok(()) };
        node.handle(self.now, input);
        let wake = node.next_wake();
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(std::iter::from_fn(|| node.poll_output()));
        for output in outputs.drain(..) {
            self.execute(life, output)?;
        }
        self.outputs = outputs;
        self.plan_wake(life, wake);
        Ok(())
    }

    /// Plans a wake, unless an earlier one is planned: that looks again.
    fn plan_wake(&mut self, life: Life, at: Instant) {
        let at = at.max(self.now + Duration::from_micros(1));
        let host = self.hosts.get_mut(life.host);
        if let Some(host) = host.filter(|host| host.wake_at.is_none_or(|planned| at < planned)) {
            host.wake_at = Some(at);
            self.queue.push(at, Scheduled::Wake { host: life });
        }
    }

    /// Wakes a node, unless it wants to be woken later by now, or an earlier wake has replaced this one.
    fn wake(&mut self, life: Life) -> Result<(), Violation> {
        if self.life(life.host) != Some(life) {
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(life.host) else { return Ok(()) };
        if host.wake_at.take_if(|planned| *planned <= self.now).is_none() {
            return Ok(());
        }
        match host.node.as_ref().map(|node| node.next_wake()).filter(|at| *at > self.now) {
            Some(later) => self.plan_wake(life, later),
            None => self.feed(life, Input::Wake)?,
        }
        Ok(())
    }

    fn execute(&mut self, life: Life, output: Output) -> Result<(), Violation> {
        match output {
            Output::Dial { addr } => {
                let to = host_at(addr);
                let silent = to < self.hosts.len() && self.are_apart(life.host, to);
                let running = self.life(to).is_some();
                let after = match (silent, running) {
                    (true, _) => DIAL_LIMIT,
                    (false, true) => {
                        self.rng.duration(self.scenario.network.latency.0, self.scenario.network.latency.1)
                    }
                    (false, false) => DIAL_FAILS_AFTER,
                };
                self.queue.push(self.now + after, Scheduled::Dialled { from: life, addr });
            }
            // Simulated hosts have no names.
            Output::DialName { name } => self.feed(life, Input::NameFailed { name, reason: String::new() })?,
            Output::Send { to, message } => self.send(life, &to, &message),
            Output::SendLines { to, lines } => self.send_lines(life, &to, &lines),
            Output::Close { link } => self.close(link, life),
            Output::Persist { seq, update } => {
                let at = self.now + self.rng.duration(Duration::ZERO, self.scenario.commit);
                if let Some(host) = self.hosts.get_mut(life.host) {
                    host.uncommitted.push((seq, update));
                }
                self.queue.push(at, Scheduled::Committed { host: life, seq });
            }
            Output::Event(event) => self.heard_of(life, &event)?,
        }
        Ok(())
    }

    fn heard_of(&mut self, life: Life, event: &NodeEvent) -> Result<(), Violation> {
        let at_ms = self.wall_ms();
        if let Some(story) = &mut self.story {
            story.heard(life.host, event, at_ms);
        }
        match event {
            NodeEvent::Applied { file, .. } => {
                let Some(host) = self.hosts.get_mut(life.host) else { return Ok(()) };
                let Some(node) = host.node.as_deref() else { return Ok(()) };
                let before = host.applied.get(file).copied();
                if let Some(update) = check::applied(life.host, node, file, before, &self.published)? {
                    host.applied.insert(file.clone(), update.version);
                    self.tally.applied(life.host, &update, self.now);
                }
            }
            NodeEvent::Received { file, version, hops, fresh, .. } => {
                self.tally.received(file, *version, *hops, *fresh);
            }
            NodeEvent::Learned { .. }
            | NodeEvent::NeighbourUp { .. }
            | NodeEvent::NeighbourDown { .. }
            | NodeEvent::Suspected { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::KeepsUp { .. }
            | NodeEvent::Rejected { .. }
            | NodeEvent::ClockWrong { .. }
            | NodeEvent::ClocksAgree
            | NodeEvent::Unreached { .. }
            | NodeEvent::Alone { .. }
            | NodeEvent::SeenAt { .. }
            | NodeEvent::Twin { .. }
            | NodeEvent::NoTwin
            | NodeEvent::Recorded { .. }
            | NodeEvent::Unrecorded { .. }
            | NodeEvent::Twins { .. }
            | NodeEvent::NotUnderstood { .. }
            | NodeEvent::Misbehaved { .. } => {}
        }
        Ok(())
    }

    fn committed(&mut self, life: Life, seq: JournalSeq) -> Result<(), Violation> {
        if self.life(life.host) != Some(life) {
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(life.host) else { return Ok(()) };
        let (done, waiting): (Vec<_>, Vec<_>) = host.uncommitted.drain(..).partition(|(at, _)| *at <= seq);
        host.uncommitted = waiting;
        for (_, update) in done {
            host.disk.merge(update);
        }
        self.feed(life, Input::Persisted { seq })
    }

    // --- promises -----------------------------------------------------------------------------------------------

    /// Everybody in one overlay knows the same, and everybody who knows another's address is in its overlay.
    fn check_convergence(&self, after: Duration) -> Result<(), Violation> {
        let overlays = self.overlays();
        for (&b, &a) in &overlays {
            let total = |host: usize| Some(self.hosts.get(host)?.node.as_deref()?.catalogue().total());
            if total(a) != total(b) {
                return Err(Violation::Diverged { a, b, after });
            }
        }
        for (a, node) in self.nodes() {
            for b in node.known().map(host_at) {
                if overlays.get(&b).is_some_and(|other| Some(other) != overlays.get(&a)) {
                    return Err(Violation::Apart { a, b, after });
                }
            }
        }
        Ok(())
    }

    /// Of each host that runs the first of those that it can reach over neighbours.
    fn overlays(&self) -> BTreeMap<usize, usize> {
        let mut overlays = BTreeMap::new();
        for (first, _) in self.nodes() {
            if !overlays.contains_key(&first) {
                overlays.extend(self.overlay_from(first).into_iter().map(|host| (host, first)));
            }
        }
        overlays
    }

    /// The hosts that `start` can reach over neighbours.
    fn overlay_from(&self, start: usize) -> BTreeSet<usize> {
        let mut reached: BTreeSet<usize> = [start].into();
        let mut todo = vec![start];
        while let Some(index) = todo.pop() {
            let Some(host) = self.hosts.get(index) else { continue };
            for end in host.links.iter().filter_map(|link| self.wires.get(*link)).flat_map(|wire| wire.ends) {
                if self.life(end.host) == Some(end) && reached.insert(end.host) {
                    todo.push(end.host);
                }
            }
        }
        reached
    }
}

//! Hosts, links and the queue: the second driver of [`Node`], after the server's.
//!
//! Long because all of it works on one state, and each part is a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::io::{Input, LinkId, NodeEvent, Output, Ticket};
use crate::gossip::node::{Identity, Node};
use crate::ids::{FileId, Version};
use crate::rng::Rng;
use crate::sim::check::{self, Violation};
use crate::sim::host::{Host, Life, addr as addr_of, host_at, peer_id};
use crate::sim::network::{Wire, Wires};
use crate::sim::queue::Queue;
use crate::sim::report::{Report, Tally};
use crate::sim::scenario::{Action, Scenario};
use crate::stamp::Stamp;
use crate::time::Instant;
use crate::wire::frame::{self, Decoder};
use crate::wire::lines::{self, Line};
use crate::wire::peer::PeerMessage;
use crate::wire::update::FileUpdate;

/// How long a dial to a host that doesn't run takes to fail.
const DIAL_FAILS_AFTER: Duration = Duration::from_millis(5);
/// How long a dial takes to fail when nothing at all comes back, as the server's driver has it.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// Wall time when a run begins, in milliseconds since 1970: far enough from 0 that nothing saturates.
const BEGAN_MS: u64 = 1_700_000_000_000;

#[derive(Debug)]
enum Happening {
    Act(Action),
    Dialled { from: Life, addr: SocketAddr },
    Arrives { link: LinkId, to: Life, frame: Arc<[u8]> },
    Closed { link: LinkId, to: Life },
    Committed { host: Life, ticket: Ticket },
    Wake { host: Life },
}

/// A run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    rng: Rng,
    now: Instant,
    queue: Queue<Happening>,
    hosts: Vec<Host>,
    /// By the numbers of their links.
    wires: Wires,
    /// What comes is decoded with it.
    decoder: Decoder,
    /// What a node wants done, while that is carried out.
    outputs: Vec<Output>,
    published: BTreeMap<(FileId, Version), Vec<FileUpdate>>,
    /// What came for paused hosts.
    waiting: BTreeMap<usize, Vec<Happening>>,
    tally: Tally,
    trace: blake3::Hasher,
}

impl World {
    /// The run of a scenario, before its first step.
    pub fn new(scenario: Scenario) -> Self {
        let mut queue = Queue::new();
        for (at, action) in &scenario.actions {
            queue.push(Instant::START + *at, Happening::Act(*action));
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
            trace: blake3::Hasher::new(),
            queue,
            scenario,
        }
    }

    /// Runs the faults, and then until everybody who can reach each other agrees, at most `limit` longer. Says how
    /// long that took.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&mut self, limit: Duration) -> Result<Duration, Violation> {
        let healed = Instant::START + self.scenario.faults_end;
        self.run_until(healed)?;
        for host in 0..self.hosts.len() {
            self.act(Action::Side(host, 0))?;
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
        let alive = self.nodes().map(|(index, node)| (index, node.catalogue()));
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

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let Some(happening) = self.unless_paused(happening) else { return Ok(()) };
        match happening {
            Happening::Act(action) => self.act(action),
            Happening::Dialled { from, addr } => self.dialled(from, addr),
            Happening::Arrives { link, to, frame } => self.arrives(link, to, &frame),
            Happening::Closed { link, to } => self.closed(link, to),
            Happening::Committed { host, ticket } => self.committed(host, ticket),
            Happening::Wake { host } => self.wake(host),
        }
    }

    /// What happens to a paused host waits.
    fn unless_paused(&mut self, happening: Happening) -> Option<Happening> {
        let to = match &happening {
            Happening::Act(_) => return Some(happening),
            Happening::Dialled { from: to, .. }
            | Happening::Arrives { to, .. }
            | Happening::Closed { to, .. }
            | Happening::Committed { host: to, .. }
            | Happening::Wake { host: to } => to.host,
        };
        if self.hosts.get(to).is_some_and(|host| host.paused) {
            self.waiting.entry(to).or_default().push(happening);
            return None;
        }
        Some(happening)
    }

    // --- what is done to hosts ----------------------------------------------------------------------------------

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Start(host, contact) => self.start(host, contact)?,
            Action::Kill(host) => self.stop(host),
            Action::Leave(host) => {
                if let Some(life) = self.life(host).filter(|life| !self.is_paused(life.host)) {
                    self.feed(life, Input::Leave)?;
                }
                self.stop(host);
            }
            Action::Side(host, side) => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.side = side;
                }
            }
            Action::Pause(host, paused) => self.pause(host, paused),
            Action::Publish(host, file) => self.publish(host, file)?,
        }
        Ok(())
    }

    fn is_paused(&self, host: usize) -> bool {
        self.hosts.get(host).is_some_and(|host| host.paused)
    }

    fn pause(&mut self, index: usize, paused: bool) {
        if let Some(host) = self.hosts.get_mut(index) {
            host.paused = paused;
        }
        if !paused {
            for happening in self.waiting.remove(&index).unwrap_or_default() {
                self.queue.push(self.now, happening);
            }
        }
    }

    fn start(&mut self, index: usize, contact: usize) -> Result<(), Violation> {
        let (seed, now) = (self.rng.any(), self.now);
        let config = self.scenario.config.clone();
        let Some(host) = self.hosts.get_mut(index).filter(|host| host.node.is_none()) else { return Ok(()) };
        host.starts += 1;
        host.wake_at = None;
        host.paused = false;
        host.applied = host.disk.iter().map(|update| (update.file.clone(), update.version)).collect();
        let began_ms = BEGAN_MS + now.as_micros() / 1000;
        let me = Identity {
            peer: peer_id(index),
            listen: addr_of(index),
            durable: true,
            began_ms: BEGAN_MS.max(began_ms),
            version: String::new(),
        };
        host.node = Some(Box::new(Node::new(me, config, host.disk.clone(), seed, now)));
        let life = Life { host: index, start: host.starts };
        if contact == index {
            self.feed(life, Input::Wake)
        } else {
            self.feed(life, Input::Contact { addr: addr_of(contact) })
        }
    }

    fn stop(&mut self, index: usize) {
        let Some(life) = self.life(index) else { return };
        self.waiting.remove(&index);
        let mut links = BTreeSet::new();
        if let Some(host) = self.hosts.get_mut(index) {
            host.node = None;
            host.uncommitted.clear();
            host.paused = false;
            links = std::mem::take(&mut host.links);
        }
        for link in links {
            self.close(link, life);
        }
    }

    fn publish(&mut self, index: usize, file: u32) -> Result<(), Violation> {
        let Some(life) = self.life(index).filter(|life| !self.is_paused(life.host)) else { return Ok(()) };
        let Ok(file) = format!("file-{file}").parse::<FileId>() else { return Ok(()) };
        let node = self.hosts.get(index).and_then(|host| host.node.as_ref());
        let known = node.and_then(|node| node.catalogue().of_file(&file)).map(|known| known.version);
        let Some(version) = known.map_or(Some(Version::FIRST), Version::next) else { return Ok(()) };
        let stamp = Stamp((BEGAN_MS << 16) + self.now.as_micros());
        let update = FileUpdate::injected(file.clone(), version, stamp, peer_id(index));
        self.published.entry((file, version)).or_default().push(update.clone());
        self.tally.published(index, &update, self.now);
        self.feed(life, Input::Publish { update })
    }

    // --- links --------------------------------------------------------------------------------------------------

    fn are_apart(&self, a: usize, b: usize) -> bool {
        let side = |host: usize| self.hosts.get(host).map(|host| host.side);
        side(a) != side(b)
    }

    fn dialled(&mut self, from: Life, addr: SocketAddr) -> Result<(), Violation> {
        if self.life(from.host) != Some(from) {
            return Ok(());
        }
        let to = host_at(addr);
        let Some(other) = self.life(to).filter(|_| !self.are_apart(from.host, to)) else {
            return self.feed(from, Input::DialFailed { addr });
        };
        let link = self.wires.open(Wire::new([from, other], &self.scenario.network, &mut self.rng, self.now));
        for end in [from, other] {
            if let Some(host) = self.hosts.get_mut(end.host) {
                host.links.insert(link);
            }
        }
        // A stopped process's kernel accepts for it.
        let up = Input::LinkUp { link, remote: addr_of(from.host), dialled: None };
        if !self.is_paused(other.host) {
            self.feed(other, up)?;
        }
        self.feed(from, Input::LinkUp { link, remote: addr, dialled: Some(addr) })
    }

    fn send(&mut self, from: Life, to: &[LinkId], message: &PeerMessage) {
        let Ok(frame) = frame::encode(message) else { return };
        let in_place = matches!(message, PeerMessage::Hello(_) | PeerMessage::Goodbye { .. });
        self.send_bytes(from, to, &frame.into(), (message.kind(), in_place));
    }

    fn send_lines(&mut self, from: Life, to: &[LinkId], lines: &[Line]) {
        for line in lines {
            let Ok(bytes) = lines::encode(line) else { return };
            self.send_bytes(from, to, &bytes.into(), ("line", true));
        }
    }

    fn send_bytes(&mut self, from: Life, to: &[LinkId], frame: &Arc<[u8]>, (kind, in_place): (&'static str, bool)) {
        for link in to {
            let Some(wire) = self.wires.get_mut(*link) else { continue };
            let Some(end) = wire.far_end(from) else { continue };
            let Some(life) = wire.ends.get(end).copied() else { continue };
            self.tally.sent(kind, frame.len(), self.now);
            let side = |host: usize| self.hosts.get(host).map(|host| host.side);
            if side(from.host) != side(life.host) {
                continue;
            }
            let network = &self.scenario.network;
            for at in wire.arrivals(end, (frame.len(), in_place), network, &mut self.rng, self.now) {
                self.queue.push(at, Happening::Arrives { link: *link, to: life, frame: frame.clone() });
            }
        }
    }

    fn arrives(&mut self, link: LinkId, to: Life, bytes: &[u8]) -> Result<(), Violation> {
        let Some(wire) = self.wires.get(link) else { return Ok(()) };
        let Some(far_end) = wire.far_end(to) else { return Ok(()) };
        let Some(from) = wire.ends.get(far_end).copied() else { return Ok(()) };
        if self.are_apart(from.host, to.host) {
            return Ok(());
        }
        let is_open = wire.ends.into_iter().zip(wire.open).any(|(end, open)| end == to && open);
        if !is_open {
            // What a socket that is gone answers, behind what was said before it was closed.
            let at = wire.end_arrives(far_end, self.now);
            self.queue.push(at, Happening::Closed { link, to: from });
            return Ok(());
        }
        for part in [&self.now.as_micros().to_be_bytes()[..], &link.0.to_be_bytes(), bytes] {
            self.trace.update(part);
        }
        if bytes.first() == Some(&lines::OPENING) {
            let mut decoder = lines::Decoder::default();
            decoder.push(bytes);
            let lines = decoder.next_line().ok().flatten().into_iter().collect();
            return self.feed(to, Input::Lines { link, lines });
        }
        self.decoder.push(bytes);
        match self.decoder.next_message() {
            Ok(Some(message)) => self.feed(to, Input::Messages { link, messages: vec![message] }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// One side closes a link; the other hears of it if packets get there.
    fn close(&mut self, link: LinkId, by: Life) {
        if let Some(host) = self.hosts.get_mut(by.host) {
            host.links.remove(&link);
        }
        let Some(wire) = self.wires.get_mut(link) else { return };
        for (end, open) in wire.ends.into_iter().zip(&mut wire.open) {
            *open &= end != by;
        }
        if wire.open == [false; 2] {
            self.wires.close(link);
            return;
        }
        let Some(end) = wire.far_end(by) else { return };
        let (Some(to), at) = (wire.ends.get(end).copied(), wire.end_arrives(end, self.now)) else { return };
        if !self.are_apart(by.host, to.host) {
            self.queue.push(at, Happening::Closed { link, to });
        }
    }

    fn closed(&mut self, link: LinkId, to: Life) -> Result<(), Violation> {
        let open = self
            .wires
            .get(link)
            .is_some_and(|wire| wire.ends.into_iter().zip(wire.open).any(|(end, open)| end == to && open));
        if !open {
            return Ok(());
        }
        self.close(link, to);
        self.feed(to, Input::LinkDown { link, reason: "closed by the other side".to_owned() })
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
            self.carry_out(life, output)?;
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
            self.queue.push(at, Happening::Wake { host: life });
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

    fn carry_out(&mut self, life: Life, output: Output) -> Result<(), Violation> {
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
                self.queue.push(self.now + after, Happening::Dialled { from: life, addr });
            }
            Output::Send { to, message } => self.send(life, &to, &message),
            Output::SendLines { to, lines } => self.send_lines(life, &to, &lines),
            Output::Close { link } => self.close(link, life),
            Output::Store { ticket, update } => {
                let at = self.now + self.rng.duration(Duration::ZERO, self.scenario.commit);
                if let Some(host) = self.hosts.get_mut(life.host) {
                    host.uncommitted.push((ticket, update));
                }
                self.queue.push(at, Happening::Committed { host: life, ticket });
            }
            Output::Event(event) => self.heard_of(life, &event)?,
        }
        Ok(())
    }

    fn heard_of(&mut self, life: Life, event: &NodeEvent) -> Result<(), Violation> {
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
            NodeEvent::Received { file, version, hops: Some(hops), fresh, .. } => {
                self.tally.received(file, *version, *hops, *fresh);
            }
            NodeEvent::Received { hops: None, .. }
            | NodeEvent::Learned { .. }
            | NodeEvent::NeighbourUp { .. }
            | NodeEvent::NeighbourDown { .. }
            | NodeEvent::Suspected { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::Rejected { .. }
            | NodeEvent::Misbehaved { .. } => {}
        }
        Ok(())
    }

    fn committed(&mut self, life: Life, ticket: Ticket) -> Result<(), Violation> {
        if self.life(life.host) != Some(life) {
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(life.host) else { return Ok(()) };
        let (done, waiting): (Vec<_>, Vec<_>) = host.uncommitted.drain(..).partition(|(at, _)| *at <= ticket);
        host.uncommitted = waiting;
        for (_, update) in done {
            host.disk.merge(update);
        }
        self.feed(life, Input::Stored { ticket })
    }

    // --- promises -----------------------------------------------------------------------------------------------

    /// Everybody in one overlay knows the same, and everybody who knows another's address is in its overlay.
    fn check_convergence(&self, after: Duration) -> Result<(), Violation> {
        let mut overlays: Vec<Option<usize>> = vec![None; self.hosts.len()];
        let overlay_of = |overlays: &[Option<usize>], host: usize| overlays.get(host).copied().flatten();
        for (first, node) in self.nodes() {
            if overlay_of(&overlays, first).is_some() {
                continue;
            }
            for host in self.overlay_from(first) {
                if let Some(overlay) = overlays.get_mut(host) {
                    *overlay = Some(first);
                }
                let other = self.hosts.get(host).and_then(|host| host.node.as_deref());
                if other.is_some_and(|other| other.catalogue().total() != node.catalogue().total()) {
                    return Err(Violation::Diverged { a: first, b: host, after });
                }
            }
        }
        for (a, node) in self.nodes() {
            for b in node.known().map(host_at) {
                if overlay_of(&overlays, b).is_some_and(|other| Some(other) != overlay_of(&overlays, a)) {
                    return Err(Violation::Apart { a, b, after });
                }
            }
        }
        Ok(())
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

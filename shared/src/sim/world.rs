//! Hosts, links and the queue: the second driver of [`Node`], after the server's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::config::Config;
use crate::gossip::io::{Input, LinkId, Output, Ticket};
use crate::gossip::node::{Identity, Node};
use crate::ids::{FileId, Version};
use crate::rng::Rng;
use crate::sim::check::{self, Violation};
use crate::sim::host::{Host, Life, addr as addr_of, host_at, peer_id};
use crate::sim::queue::Queue;
use crate::sim::scenario::{Action, Scenario};
use crate::stamp::Stamp;
use crate::time::Instant;
use crate::wire::frame::{self, Decoder};
use crate::wire::peer::PeerMessage;
use crate::wire::update::FileUpdate;

/// How long a dial to a host that doesn't run takes to fail.
const DIAL_FAILS_AFTER: Duration = Duration::from_millis(5);

#[derive(Debug)]
enum Happening {
    Act(Action),
    Dialled { from: Life, to: usize, addr: SocketAddr },
    Arrives { link: LinkId, to: Life, frame: Vec<u8> },
    Closed { link: LinkId, to: Life },
    Committed { host: Life, ticket: Ticket },
    Wake { host: Life },
}

/// Both ends of a link, and when the last thing that must stay in order (hello, the end) arrives at each.
#[derive(Debug)]
struct Wire {
    ends: [Life; 2],
    hello_at: [Option<Instant>; 2],
    last_at: [Instant; 2],
}

/// A run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    rng: Rng,
    now: Instant,
    queue: Queue<Happening>,
    hosts: Vec<Host>,
    wires: BTreeMap<LinkId, Wire>,
    links: u64,
    published: Vec<FileUpdate>,
    /// Messages that arrived, for the curious.
    pub messages: u64,
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
            wires: BTreeMap::new(),
            links: 0,
            published: Vec::new(),
            messages: 0,
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
        for host in &mut self.hosts {
            host.isolated = false;
        }
        let (step, mut verdict) = (Duration::from_secs(1), self.check_convergence(Duration::ZERO));
        while verdict.is_err() && self.now - healed < limit {
            self.run_until(self.now + step)?;
            verdict = self.check_convergence(self.now - healed);
        }
        verdict.map(|()| self.now - healed)
    }

    fn run_until(&mut self, end: Instant) -> Result<(), Violation> {
        while let Some((at, happening)) = self.queue.pop_before(end) {
            self.now = at;
            self.happen(happening)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Act(action) => self.act(action),
            Happening::Dialled { from, to, addr } => self.dialled(from, to, addr),
            Happening::Arrives { link, to, frame } => self.arrives(link, to, &frame),
            Happening::Closed { link, to } => {
                self.feed(to, Input::LinkDown { link, reason: "closed by the other side".to_owned() })
            }
            Happening::Committed { host, ticket } => self.committed(host, ticket),
            Happening::Wake { host } => {
                if let Some(place) = self.hosts.get_mut(host.host) {
                    place.wake_at = None;
                }
                self.feed(host, Input::Wake)
            }
        }
    }

    // --- what is done to hosts ----------------------------------------------------------------------------------

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Start(host, contact) => self.start(host, contact),
            Action::Kill(host) => {
                self.stop(host);
                Ok(())
            }
            Action::Leave(host) => {
                let left = self.life(host).map_or(Ok(()), |life| self.feed(life, Input::Leave));
                self.stop(host);
                left
            }
            Action::Isolate(host) => self.isolate(host),
            Action::Publish(host, file) => self.publish(host, file),
        }
    }

    fn start(&mut self, index: usize, contact: usize) -> Result<(), Violation> {
        let (seed, now) = (self.rng.any(), self.now);
        let Some(host) = self.hosts.get_mut(index).filter(|host| host.node.is_none()) else { return Ok(()) };
        host.starts += 1;
        host.wake_at = None;
        let me = Identity { peer: peer_id(index), listen: addr_of(index), durable: true };
        host.node = Some(Node::new(me, Config::default(), host.disk.clone(), seed, now));
        let life = Life { host: index, start: host.starts };
        if contact == index {
            self.feed(life, Input::Wake)
        } else {
            self.feed(life, Input::Contact { addr: addr_of(contact) })
        }
    }

    fn stop(&mut self, index: usize) {
        let life = self.life(index);
        if let Some(host) = self.hosts.get_mut(index) {
            host.node = None;
            host.uncommitted.clear();
        }
        self.break_links(|end| Some(end) == life);
    }

    fn isolate(&mut self, index: usize) -> Result<(), Violation> {
        let Some(life) = self.life(index) else { return Ok(()) };
        if let Some(host) = self.hosts.get_mut(index) {
            host.isolated = true;
        }
        for link in self.break_links(|end| end == life) {
            self.feed(life, Input::LinkDown { link, reason: "cut".to_owned() })?;
        }
        Ok(())
    }

    /// Breaks the links that have such an end; the other end hears of it.
    fn break_links(&mut self, has_end: impl Fn(Life) -> bool) -> Vec<LinkId> {
        let broken: Vec<LinkId> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.ends.iter().any(|end| has_end(*end)))
            .map(|(link, _)| *link)
            .collect();
        for link in &broken {
            let Some(wire) = self.wires.remove(link) else { continue };
            for (end, last_at) in wire.ends.into_iter().zip(wire.last_at) {
                if !has_end(end) {
                    let at = last_at.max(self.now + self.latency());
                    self.queue.push(at, Happening::Closed { link: *link, to: end });
                }
            }
        }
        broken
    }

    fn publish(&mut self, index: usize, file: u8) -> Result<(), Violation> {
        let Some(life) = self.life(index) else { return Ok(()) };
        let Ok(file) = format!("file-{file}").parse::<FileId>() else { return Ok(()) };
        let node = self.hosts.get(index).and_then(|host| host.node.as_ref());
        let known = node.and_then(|node| node.catalogue().get(&file)).map(|known| known.version);
        let Some(version) = known.map_or(Some(Version::FIRST), Version::next) else { return Ok(()) };
        let update = FileUpdate::injected(file, version, Stamp(self.now.as_micros()), peer_id(index));
        self.published.push(update.clone());
        self.feed(life, Input::Publish { update })
    }

    // --- links --------------------------------------------------------------------------------------------------

    fn dialled(&mut self, from: Life, to: usize, addr: SocketAddr) -> Result<(), Violation> {
        let cut = [from.host, to].into_iter().any(|host| self.hosts.get(host).is_none_or(|host| host.isolated));
        let Some(other) = self.life(to).filter(|_| !cut) else {
            return self.feed(from, Input::DialFailed { addr });
        };
        if self.life(from.host) != Some(from) {
            return Ok(());
        }
        self.links += 1;
        let link = LinkId(self.links);
        let wire = Wire { ends: [from, other], hello_at: [None; 2], last_at: [self.now; 2] };
        self.wires.insert(link, wire);
        let remote = addr_of(from.host);
        self.feed(other, Input::LinkUp { link, remote, dialled: None })?;
        self.feed(from, Input::LinkUp { link, remote: addr, dialled: Some(addr) })
    }

    fn send(&mut self, from: Life, link: LinkId, message: &PeerMessage) {
        let Ok(frame) = frame::encode(message) else { return };
        let copies = if self.rng.chance(self.scenario.duplicated, 1000) { 2 } else { 1 };
        let keeps_place = matches!(message, PeerMessage::Hello(_) | PeerMessage::Goodbye { .. });
        for copy in 0..copies {
            let arrival = self.now + self.latency();
            let Some(wire) = self.wires.get_mut(&link) else { return };
            let Some(end) = wire.ends.iter().position(|end| *end != from) else { return };
            let (Some(to), Some(hello_at), Some(last_at)) =
                (wire.ends.get(end).copied(), wire.hello_at.get_mut(end), wire.last_at.get_mut(end))
            else {
                return;
            };
            if keeps_place && copy > 0 {
                return; // a second hello is an offence, not a repetition that a network makes
            }
            let earliest = if keeps_place { *last_at } else { hello_at.unwrap_or(arrival) };
            let at = arrival.max(earliest);
            *hello_at = Some(hello_at.unwrap_or(at));
            *last_at = at.max(*last_at);
            self.queue.push(at, Happening::Arrives { link, to, frame: frame.clone() });
        }
    }

    fn arrives(&mut self, link: LinkId, to: Life, bytes: &[u8]) -> Result<(), Violation> {
        self.messages += 1;
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        match decoder.next_message() {
            Ok(Some(message)) => self.feed(to, Input::Message { link, message }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn close(&mut self, link: LinkId, by: Life) {
        let Some(wire) = self.wires.remove(&link) else { return };
        for (end, last_at) in wire.ends.into_iter().zip(wire.last_at) {
            if end != by {
                self.queue.push(last_at.max(self.now), Happening::Closed { link, to: end });
            }
        }
    }

    fn latency(&mut self) -> Duration {
        let (low, high) = self.scenario.latency;
        let usual = self.rng.duration(low, high);
        if self.rng.chance(self.scenario.delayed, 1000) { usual * 10 } else { usual }
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
        let before = node.catalogue().clone();
        node.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
        let wake = node.next_wake().max(self.now + Duration::from_micros(1));
        check::safety(life.host, &before, node.catalogue(), &self.published)?;
        for output in outputs {
            self.carry_out(life, output);
        }
        let host = self.hosts.get_mut(life.host);
        if let Some(host) = host.filter(|host| host.wake_at.is_none_or(|planned| wake < planned)) {
            host.wake_at = Some(wake);
            self.queue.push(wake, Happening::Wake { host: life });
        }
        Ok(())
    }

    fn carry_out(&mut self, life: Life, output: Output) {
        match output {
            Output::Dial { addr } => {
                let to = host_at(addr);
                let reachable = to < self.hosts.len();
                let after = if reachable { self.latency() } else { DIAL_FAILS_AFTER };
                self.queue.push(self.now + after, Happening::Dialled { from: life, to, addr });
            }
            Output::Send { to, message } => {
                for link in to {
                    self.send(life, link, &message);
                }
            }
            Output::Close { link } => self.close(link, life),
            Output::Store { ticket, update } => {
                let at = self.now + self.rng.duration(Duration::ZERO, self.scenario.commit);
                if let Some(host) = self.hosts.get_mut(life.host) {
                    host.uncommitted.push((ticket, update));
                }
                self.queue.push(at, Happening::Committed { host: life, ticket });
            }
            Output::Event(_) => {}
        }
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
        for (a, node) in self.nodes() {
            let overlay = self.overlay_of(a);
            for (b, other) in self.nodes() {
                if overlay.contains(&b) && node.catalogue() != other.catalogue() {
                    return Err(Violation::Diverged { a, b, after });
                }
                if !overlay.contains(&b) && node.known().any(|known| known == addr_of(b)) {
                    return Err(Violation::Apart { a, b, after });
                }
            }
        }
        Ok(())
    }

    fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.hosts.iter().enumerate().filter_map(|(index, host)| host.node.as_ref().map(|node| (index, node)))
    }

    /// The hosts that `start` can reach over links.
    fn overlay_of(&self, start: usize) -> BTreeSet<usize> {
        let mut reached: BTreeSet<usize> = [start].into();
        let mut todo = vec![start];
        while let Some(host) = todo.pop() {
            for wire in self.wires.values().filter(|wire| wire.ends.iter().any(|end| end.host == host)) {
                for end in wire.ends.iter().filter(|end| reached.insert(end.host)) {
                    todo.push(end.host);
                }
            }
        }
        reached
    }
}

//! Whether neighbours live: which links are asked for a sign of life, and what follows when none comes.

use std::time::Duration;

use crate::gossip::config;
use crate::gossip::deadlines::Deadline;
use crate::gossip::failure_detector::{Verdict, suspicion};
use crate::gossip::io::{LinkId, NodeEvent};
use crate::gossip::links::{Link, Links, Role};
use crate::gossip::liveness::local_health::{LocalHealth, PUNCTUAL};
use crate::gossip::reason::Reason;
use crate::gossip::runtime::Runtime;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{Fingerprint, Partner, PeerMessage};

pub mod local_health;

/// A node's watch over its links.
#[derive(Debug)]
pub struct Liveness {
    config: config::Liveness,
    health: LocalHealth,
}

/// What a look at all links has brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Who doesn't answer: others are to be told.
    pub suspects: Vec<PeerId>,
    /// Links that are to be closed, and why.
    pub dead: Vec<(LinkId, Reason)>,
}

impl Liveness {
    /// A node without links.
    pub fn new(config: config::Liveness, rt: &mut Runtime) -> Self {
        rt.deadlines.set(Deadline::Links, rt.now + config.busy_ping);
        Self { config, health: LocalHealth::default() }
    }

    /// The node wanted to be woken at `planned`. Only it knows how late it is; nobody else pays for it.
    pub fn woken(&mut self, planned: Instant, rt: &mut Runtime) {
        let late = rt.now - planned;
        if late > PUNCTUAL {
            self.health.woken(planned, rt.now);
            rt.links.discount(late);
        }
    }

    /// What deadlines have to allow for, since this node is late for its own.
    pub fn slowness(&self, now: Instant) -> Duration {
        self.health.slowness(now)
    }

    /// The part of the time until `now` in which this node was late, in thousandths.
    pub fn load(&self, now: Instant) -> u16 {
        self.health.load(now)
    }

    /// After this long a neighbour that doesn't answer is given up at the latest, on a quick link.
    pub fn longest_silence(&self) -> Duration {
        self.config.probe_timeout + suspicion(self.config.probe_timeout, &self.config)
    }

    // --- links ------------------------------------------------------------------------------------------------

    /// A link is open: somebody has to introduce itself.
    pub fn opened(&self, rt: &mut Runtime) {
        rt.deadlines.hasten(Deadline::Links, rt.now + self.config.hello);
    }

    /// A link is open with an original that says its state each 2 s.
    pub fn opened_by_original(&self, rt: &mut Runtime) {
        rt.deadlines.hasten(Deadline::Links, rt.now + self.config.idle_ping);
    }

    /// Asks the silent; finds the dead and those that don't introduce themselves. `catalogue`: what is told of it with each
    /// question.
    pub fn check(&self, catalogue: Fingerprint, rt: &mut Runtime) -> Findings {
        let partner = partner(&rt.links, rt.me.peer);
        let slowness = self.health.slowness(rt.now);
        let (mut ask, mut suspect, mut findings) = (Vec::new(), Vec::new(), Findings::default());
        let mut next = rt.now + self.config.idle_ping;
        for (id, link) in rt.links.iter_mut() {
            match self.limit(link) {
                Limit::None => {}
                Limit::Until(limit, reason) if rt.now >= limit => findings.dead.push((id, reason)),
                Limit::Until(limit, _) => next = next.min(limit),
                Limit::Heartbeat => {
                    let every = self.pause(link, Some(id) == partner, rt.me.peer);
                    match link.detector.check(rt.now, every, &self.config, slowness) {
                        Verdict::Fine(until) => next = next.min(until),
                        Verdict::Ask(nonce) => ask.push((id, nonce)),
                        Verdict::Suspect(nonce) => suspect.push((id, nonce, link.role)),
                        Verdict::Dead => findings.dead.push((id, Reason::Silent)),
                    }
                }
            }
        }
        let soon = if ask.is_empty() && suspect.is_empty() { next } else { rt.now + self.config.probe_timeout };
        rt.deadlines.set(Deadline::Links, next.min(soon));
        for (id, nonce) in ask {
            let partner = tell_of_partner(id, rt);
            rt.send(vec![id], PeerMessage::Ping { nonce, catalogue, partner });
        }
        for (id, nonce, role) in suspect {
            let partner = tell_of_partner(id, rt);
            rt.send(vec![id], PeerMessage::Ping { nonce, catalogue, partner });
            if let Some((peer, addr)) = role.peer() {
                rt.event(NodeEvent::Suspected { peer, addr });
                findings.suspects.push(peer);
            }
        }
        findings
    }

    /// How long a link may stay without more.
    fn limit(&self, link: &Link) -> Limit {
        match link.role {
            Role::Stranger | Role::Asked { .. } | Role::Expected { .. } => {
                Limit::Until(link.opened + self.config.hello, Reason::NoHello)
            }
            // It says its state each 2 s, and must not keep somebody else's place once it can't.
            Role::Original { dialled: None } => {
                Limit::Until(link.detector.last_heard() + self.config.idle_ping, Reason::Silent)
            }
            // It never says a word here, and is gone when the connection is.
            Role::Original { dialled: Some(_) } => Limit::None,
            Role::Neighbour { .. } | Role::Client => Limit::Heartbeat,
        }
    }

    /// How often a link is asked for a sign of life when nothing else happens.
    fn pause(&self, link: &Link, is_partner: bool, me: PeerId) -> Duration {
        let watched = is_partner || link.partner == Partner::You;
        let every = if watched { self.config.partner_ping } else { self.config.idle_ping };
        // One question serves both sides: of the two the same always asks first.
        let first = link.role.peer().is_some_and(|(peer, _)| peer < me);
        if first { every.saturating_sub(self.config.asks_first) } else { every }
    }
}

/// How long a link may stay.
enum Limit {
    /// As long as it likes.
    None,
    /// Until then; why not longer.
    Until(Instant, Reason),
    /// As long as it answers.
    Heartbeat,
}

// --- questions and answers ---------------------------------------------------------------------------------------------

/// Asks for a sign of life at once: since somebody else gets none, or to measure the round trip that deadlines follow.
pub fn probe(link: LinkId, rt: &mut Runtime) {
    if let Some(link) = rt.links.get_mut(link) {
        link.detector.probe_now(rt.now);
        rt.deadlines.set(Deadline::Links, rt.now);
    }
}

/// Somebody gets no answer from a peer: if it is a neighbour, it is asked at once. An accusation is no more than
/// this hint, so nothing has to be refuted and nobody can be slandered (SWIM, section 4.2, needs both).
pub fn accused(peer: PeerId, rt: &mut Runtime) {
    if let Some(link) = rt.links.with(peer) {
        probe(link, rt);
    }
}

/// Somebody asks for a sign of life.
pub fn ping(link: LinkId, nonce: u32, partner: Partner, catalogue: Fingerprint, rt: &mut Runtime) {
    told_partner(link, partner, rt);
    let partner = tell_of_partner(link, rt);
    rt.answer(link, PeerMessage::Pong { nonce, catalogue, partner });
}

/// Somebody answers. Returns how long an answer takes there at most, if all is well.
pub fn pong(link: LinkId, nonce: u32, partner: Partner, rt: &mut Runtime) -> Option<Duration> {
    told_partner(link, partner, rt);
    let link = rt.links.get_mut(link)?;
    link.detector.answered(nonce, rt.now);
    link.detector.usual_wait()
}

// --- partners ---------------------------------------------------------------------------------------------------------

/// The neighbour with which this node watches one another when nothing happens: of those that have chosen it, else
/// of those that still look for one, else of all, the one whose id is nearest. Distances are the same from both
/// sides, so that most peers end in pairs and one question in each pause does for two (a stable matching: Gale and
/// Shapley, 1962). Who finds all others in pairs is watched by one of these, since it says whom it has chosen.
fn partner(links: &Links, me: PeerId) -> Option<LinkId> {
    let distance = |peer: PeerId| peer.0.into_iter().zip(me.0).map(|(a, b)| a ^ b);
    let nearest = links.neighbours().min_by(|one, other| {
        let told = told_of_partner(one.link, links).cmp(&told_of_partner(other.link, links));
        told.then_with(|| distance(one.peer).cmp(distance(other.peer)))
    });
    nearest.map(|nearest| nearest.link)
}

/// What a neighbour says of its partner.
fn told_of_partner(link: LinkId, links: &Links) -> Partner {
    links.get(link).map(|link| link.partner).unwrap_or_default()
}

/// A neighbour has said who its partner is.
fn told_partner(link: LinkId, partner: Partner, rt: &mut Runtime) {
    if let Some(link) = rt.links.get_mut(link).filter(|link| link.partner != partner) {
        link.partner = partner;
        rt.deadlines.set(Deadline::Links, rt.now);
    }
}

/// What a neighbour is told of this node's partner.
fn tell_of_partner(link: LinkId, rt: &Runtime) -> Partner {
    match partner(&rt.links, rt.me.peer) {
        Some(partner) if partner == link => Partner::You,
        Some(partner) if told_of_partner(partner, &rt.links) == Partner::You => Partner::Another,
        _ => Partner::Open,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const CATALOGUE: Fingerprint = Fingerprint { count: 0, sum: 0 };

    fn watch(rt: &mut Runtime) -> Liveness {
        Liveness::new(config::Liveness::default(), rt)
    }

    /// Looks at the links whenever that is due, until something is found.
    fn find(liveness: &Liveness, rt: &mut Runtime) -> Findings {
        for _ in 0..100 {
            rt.now = rt.deadlines.next(false).unwrap();
            let findings = liveness.check(CATALOGUE, rt);
            if findings != Findings::default() {
                return findings;
            }
        }
        Findings::default()
    }

    #[test]
    fn a_silent_neighbour_is_asked_then_suspected_and_given_up() {
        let mut rt = Runtime::with_neighbours(1);
        let (liveness, began) = (watch(&mut rt), rt.now);
        assert_eq!(find(&liveness, &mut rt).suspects, [PeerId([1; 32])]);
        let asked = rt.sent();
        assert!(asked.iter().all(|(to, message)| *to == LinkId(1) && matches!(message, PeerMessage::Ping { .. })));
        assert_eq!(asked.len(), 2);
        let suspected = rt.now;
        assert_eq!(find(&liveness, &mut rt).dead, [(LinkId(1), Reason::Silent)]);
        let config::Liveness { probe_timeout, .. } = config::Liveness::default();
        assert_eq!(rt.now - suspected + probe_timeout, liveness.longest_silence());
        assert!(rt.now - began < Duration::from_secs(5));
    }

    #[test]
    fn who_does_not_say_hello_is_given_up() {
        let mut rt = Runtime::with_neighbours(0);
        let liveness = watch(&mut rt);
        rt.links.open(LinkId(1), SocketAddr::from(([10, 0, 0, 1], 1)), None, rt.now);
        liveness.opened(&mut rt);
        let began = rt.now;
        assert_eq!(find(&liveness, &mut rt).dead, [(LinkId(1), Reason::NoHello)]);
        assert_eq!(rt.now - began, config::Liveness::default().hello);
    }

    #[test]
    fn who_answers_is_measured_and_not_asked_again_soon() {
        let mut rt = Runtime::with_neighbours(1);
        let liveness = watch(&mut rt);
        probe(LinkId(1), &mut rt);
        assert_eq!(liveness.check(CATALOGUE, &mut rt), Findings::default());
        let Some((_, PeerMessage::Ping { nonce, .. })) = rt.sent().pop() else { panic!("it wasn't asked") };
        rt.pass(Duration::from_millis(40));
        rt.links.heard(LinkId(1), rt.now);
        let wait = pong(LinkId(1), nonce, Partner::You, &mut rt).unwrap();
        assert!(wait >= Duration::from_millis(40));
        liveness.check(CATALOGUE, &mut rt);
        assert_eq!(rt.sent(), []);
    }

    #[test]
    fn who_has_chosen_this_node_is_its_partner_before_the_nearest() {
        let mut rt = Runtime::with_neighbours(2);
        for (link, partner) in [(1, Partner::You), (2, Partner::Open)] {
            ping(LinkId(link), 7, Partner::Open, CATALOGUE, &mut rt);
            assert_eq!(rt.sent(), [(LinkId(link), PeerMessage::Pong { nonce: 7, catalogue: CATALOGUE, partner })]);
        }
        ping(LinkId(2), 8, Partner::You, CATALOGUE, &mut rt);
        let partner = Partner::You;
        let pong = PeerMessage::Pong { nonce: 8, catalogue: CATALOGUE, partner };
        assert_eq!(rt.sent(), [(LinkId(2), pong)]);
    }

    #[test]
    fn a_node_that_was_held_up_waits_longer() {
        let mut rt = Runtime::with_neighbours(1);
        let mut liveness = watch(&mut rt);
        let planned = rt.now;
        rt.pass(Duration::from_secs(3));
        liveness.woken(planned, &mut rt);
        assert_eq!(liveness.slowness(rt.now), Duration::from_secs(3));
        liveness.check(CATALOGUE, &mut rt);
        assert_eq!(rt.sent(), [], "what it couldn't hear meanwhile counts for nobody");
    }
}

//! The picture of the overlay in motion: nodes that glide to their places and messages on their way along links.
//! Time comes in, places go out.

use shared::ids::PeerId;
use shared::wire::event::PeerState;

use crate::layout::{Point, Size, places};
use crate::small_map::SmallMap;

/// How long one message is shown on one link, in milliseconds. Real links take less than one: slowed down to be seen.
pub const HOP_MS: f64 = 550.0;
/// How many messages are in the picture at once; more aren't drawn. A guess: more can't be told apart.
const PARTICLE_LIMIT: usize = 400;
/// How much of what is left of its way a node glides in a millisecond: nine tenths in about a third of a second.
const GLIDE: f64 = 0.007;
/// Nearer than this a node has arrived (CSS pixels).
const ARRIVED: f64 = 0.3;

/// A peer to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its state.
    pub state: PeerState,
    /// What to write beside it.
    pub label: String,
    /// Where it is now.
    pub at: Point,
    goal: Point,
}

/// A message to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Particle {
    /// From whom.
    pub from: PeerId,
    /// To whom.
    pub to: PeerId,
    /// Whether it was news to the receiver.
    pub fresh: bool,
    starts_ms: f64,
}

impl Particle {
    /// How much of its way is done, from 0 to 1; `None` before it starts.
    pub fn progress(&self, now_ms: f64) -> Option<f64> {
        let share = (now_ms - self.starts_ms) / HOP_MS;
        (share >= 0.0).then_some(share.min(1.0))
    }
}

/// What there is to draw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    /// The peers in the order of their places, with what to write beside each.
    pub peers: Vec<(PeerId, PeerState, String)>,
    /// Links between two of them.
    pub links: Vec<(PeerId, PeerId)>,
}

/// The picture.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// The peers.
    pub nodes: SmallMap<PeerId, Node>,
    /// Links between two of them.
    pub links: Vec<(PeerId, PeerId)>,
    /// Messages on their way.
    pub particles: Vec<Particle>,
    size: Size,
    last_ms: f64,
}

impl Scene {
    /// Shows these peers and links. With `still`, nodes jump to their places.
    pub fn arrange(&mut self, topology: &Topology, size: Size, still: bool) {
        let peers = &topology.peers;
        let still = still || self.size != size || self.nodes.entries().is_empty();
        self.size = size;
        let goals = places(u32::try_from(peers.len()).unwrap_or(u32::MAX), size);
        let mut nodes = SmallMap::new();
        for ((peer, state, label), goal) in peers.iter().zip(goals) {
            let before = self.nodes.get(peer).map_or(size.middle(), |node| node.at);
            let at = if still { goal } else { before };
            nodes.put(*peer, Node { state: *state, label: label.clone(), at, goal });
        }
        self.nodes = nodes;
        let shown = |(a, b): &&(PeerId, PeerId)| self.nodes.has(a) && self.nodes.has(b);
        self.links = topology.links.iter().filter(shown).copied().collect();
    }

    /// A message went from `from` to `to`; the later its hop, the later it starts.
    pub fn launch(&mut self, now_ms: f64, (from, to): (PeerId, PeerId), hops: u16, fresh: bool) {
        if self.particles.len() < PARTICLE_LIMIT && self.nodes.has(&from) && self.nodes.has(&to) {
            let starts_ms = now_ms + f64::from(hops.saturating_sub(1).min(8)) * HOP_MS;
            self.particles.push(Particle { from, to, fresh, starts_ms });
        }
    }

    /// Moves everything to where it is at `now_ms`; whether anything still moves.
    pub fn step(&mut self, now_ms: f64) -> bool {
        let elapsed_ms = (now_ms - self.last_ms).clamp(0.0, 50.0);
        self.last_ms = now_ms;
        // Never past the goal, however long the step was.
        let share = GLIDE * elapsed_ms / (1.0 + GLIDE * elapsed_ms);
        let mut moving = false;
        for node in self.nodes.values_mut() {
            if node.at.distance(node.goal) > ARRIVED {
                node.at = node.at.towards(node.goal, share);
                moving = true;
            } else {
                node.at = node.goal;
            }
        }
        let nodes = &self.nodes;
        let known = |peer: &PeerId| nodes.has(peer);
        self.particles
            .retain(|particle| now_ms < particle.starts_ms + HOP_MS && known(&particle.from) && known(&particle.to));
        moving || !self.particles.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 600.0, height: 400.0 };

    fn topology(count: u8, links: &[(PeerId, PeerId)]) -> Topology {
        let peers = (1..=count).map(|n| (PeerId([n; 32]), PeerState::Up, format!(":900{n}"))).collect();
        Topology { peers, links: links.to_vec() }
    }

    fn run(scene: &mut Scene, from_ms: u32, frames: u32) -> Option<u32> {
        (0..frames).find(|frame| !scene.step(f64::from(from_ms + frame * 16)))
    }

    #[test]
    fn the_picture_comes_to_rest() {
        let mut scene = Scene::default();
        scene.arrange(&topology(5, &[]), SIZE, false);
        assert_eq!(run(&mut scene, 1000, 2), Some(0), "the first picture doesn't move");
        scene.arrange(&topology(6, &[]), SIZE, false);
        assert!(scene.step(1100.0));
        assert!(run(&mut scene, 1116, 120).is_some());
    }

    #[test]
    fn a_message_travels_once_and_later_hops_follow() {
        let mut scene = Scene::default();
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        scene.arrange(&topology(2, &[(a, b)]), SIZE, true);
        scene.launch(0.0, (a, b), 1, true);
        scene.launch(0.0, (b, a), 2, false);
        assert!(scene.step(HOP_MS / 2.0));
        let shares: Vec<_> = scene.particles.iter().map(|particle| particle.progress(HOP_MS / 2.0)).collect();
        assert_eq!(shares, [Some(0.5), None]);
        assert!(scene.step(HOP_MS * 1.5));
        assert_eq!(scene.particles.len(), 1);
        assert!(!scene.step(HOP_MS * 2.0));
    }

    #[test]
    fn what_nobody_can_see_is_not_kept() {
        let mut scene = Scene::default();
        let (a, b) = (PeerId([1; 32]), PeerId([9; 32]));
        scene.arrange(&topology(2, &[(a, b)]), SIZE, true);
        assert!(scene.links.is_empty());
        scene.launch(0.0, (a, b), 1, true);
        for _ in 0..1000 {
            scene.launch(0.0, (a, PeerId([2; 32])), 1, true);
        }
        assert_eq!(scene.particles.len(), PARTICLE_LIMIT);
    }
}

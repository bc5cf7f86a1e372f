//! What is told of a node to who watches: the one mapping from what a node says of itself to the event stream, for the
//! server and for the simulator. What is only logged isn't in it.

use crate::gossip::io::NodeEvent;
use crate::ids::PeerId;
use crate::wire::event::Event;

/// Returns what is told of something that happened at `peer`.
pub fn told(peer: PeerId, event: &NodeEvent) -> Option<Event> {
    Some(match event {
        NodeEvent::Applied { file, version, files } => {
            Event::UpdateApplied { peer, file: file.clone(), version: *version, files: *files }
        }
        NodeEvent::Received { from, file, version, hops, fresh } => Event::UpdateReceived {
            peer,
            from: *from,
            file: file.clone(),
            version: *version,
            hops: *hops,
            fresh: *fresh,
        },
        NodeEvent::Learned { addr } => Event::PeerLearned { peer, addr: *addr },
        NodeEvent::NeighbourUp { peer: neighbour, addr } => Event::LinkUp { peer, neighbour: *neighbour, addr: *addr },
        NodeEvent::NeighbourDown { peer: neighbour, addr: _, reason } => {
            Event::LinkDown { peer, neighbour: *neighbour, reason: reason.to_string() }
        }
        NodeEvent::Twin { addr, stays_out: _ } => Event::SameIdentity { peer, addr: *addr },
        NodeEvent::Twins { peer, addrs: [_, other] } => Event::SameIdentity { peer: *peer, addr: *other },
        NodeEvent::Suspected { .. }
        | NodeEvent::Slow { .. }
        | NodeEvent::KeepsUp { .. }
        | NodeEvent::Rejected { .. }
        | NodeEvent::ClockWrong { .. }
        | NodeEvent::ClocksAgree
        | NodeEvent::Unreached { .. }
        | NodeEvent::Alone { .. }
        | NodeEvent::SeenAt { .. }
        | NodeEvent::NotUnderstood { .. }
        | NodeEvent::Misbehaved { .. } => return None,
    })
}

//! One entry of the stream as a sentence.

use shared::ids::{FileId, PeerId};
use shared::wire::event::{Event, PartState, PeerState};
use shared::wire::queue::ChangeKind;

use crate::format;
use crate::model::lab;

/// How peers and files are called in a sentence.
pub struct Names<'a> {
    /// What to call a peer.
    pub peer: &'a dyn Fn(&PeerId) -> String,
    /// What to call a file.
    pub file: &'a dyn Fn(&FileId) -> String,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// What an event is about; also the name of its colour.
pub fn topic(event: &Event) -> &'static str {
    match event {
        Event::FileStored { .. } | Event::FilePublished { .. } | Event::FileForwarded { .. } => "file",
        Event::UpdateReceived { .. } | Event::UpdateApplied { .. } => "gossip",
        Event::PeerStarted { .. }
        | Event::PeerStopped { .. }
        | Event::PeerForgotten { .. }
        | Event::PeerTold { .. }
        | Event::SameIdentity { .. }
        | Event::PeerBack { .. }
        | Event::PeerLearned { .. } => "peer",
        Event::LinkUp { .. } | Event::LinkDown { .. } => "link",
        Event::Broker { .. } | Event::Bridge { .. } | Event::DeadLettered { .. } => "broker",
        Event::ConditionRaised { .. } | Event::ConditionCleared { .. } => "condition",
        Event::Lab { .. } | Event::LabRace { .. } | Event::LabFinished { .. } => "lab",
    }
}

/// The event as a sentence.
pub fn describe(event: &Event, names: &Names<'_>) -> String {
    let (peer_name, file_name) = (names.peer, names.file);
    match event {
        Event::FileStored { file, version, change, size_bytes, audience: _ } => {
            format!("{} {} v{version} ({})", file_name(file), verb(*change), format::bytes(*size_bytes))
        }
        Event::FilePublished { file, version, owner: _ } => format!("broker confirmed {} v{version}", file_name(file)),
        Event::FileForwarded { file, version, entry, owner: _ } => {
            format!("bridge handed {} v{version} to {entry}", file_name(file))
        }
        Event::DeadLettered { message_id, reason } => format!("message {message_id} set aside: {reason}"),
        Event::UpdateReceived { peer, from, file, version, hops, fresh, owner: _ } => {
            let (peer, from) = (peer_name(peer), peer_name(from));
            let way = hops.map_or_else(|| "catalogue exchange".to_owned(), |hops| format::counted(hops.into(), "hop"));
            let news = if *fresh { "" } else { ", known already" };
            format!("{peer} received {} v{version} from {from} ({way}{news})", file_name(file))
        }
        Event::UpdateApplied { peer, file, version, files: _, owner: _ } => {
            format!("{} applied {} v{version}", peer_name(peer), file_name(file))
        }
        Event::PeerStarted { addr, files, .. } => {
            format!("peer {addr} started with {}", format::counted((*files).into(), "file"))
        }
        Event::PeerStopped { peer, state } => format!("peer {} {}", peer_name(peer), stopped(*state)),
        Event::PeerForgotten { peer } => format!("peer {} forgotten", peer_name(peer)),
        Event::PeerTold { addr, files, .. } => format!("peer {addr} has {}", format::counted((*files).into(), "file")),
        Event::SameIdentity { peer, addr, stands_by } => {
            let out = if *stands_by { "; this one stands by" } else { "" };
            format!("a second peer {} at {addr}{out}", peer_name(peer))
        }
        Event::PeerBack { peer } => format!("peer {} takes part again", peer_name(peer)),
        Event::PeerLearned { peer, addr } => format!("{} learned of {addr}", peer_name(peer)),
        Event::LinkUp { peer, neighbour, .. } => format!("{} linked with {}", peer_name(peer), peer_name(neighbour)),
        Event::LinkDown { peer, neighbour, reason } => {
            format!("{} lost its link with {}: {reason}", peer_name(peer), peer_name(neighbour))
        }
        Event::Broker { state } => format!("broker {}", part(state)),
        Event::Bridge { state } => format!("bridge {}", part(state)),
        Event::ConditionRaised { condition, detail } => format!("{condition}: {detail}"),
        Event::ConditionCleared { condition } => format!("no more {condition}"),
        Event::Lab { thread, step, .. } => format!("{thread} {}", lab::words(step)),
        Event::LabRace { result, .. } => {
            format!("race with {}: {} of {} additions lost", result.method, result.lost, result.expected)
        }
        Event::LabFinished { .. } => "the lab's run is over".to_owned(),
    }
}

fn verb(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Uploaded => "uploaded as",
        ChangeKind::Updated => "replaced by",
        ChangeKind::Shared => "shared at",
        ChangeKind::Deleted => "deleted at",
    }
}

fn stopped(state: PeerState) -> &'static str {
    match state {
        PeerState::Left => "left",
        PeerState::Killed => "was killed",
        PeerState::Up | PeerState::StandsBy | PeerState::Remote | PeerState::Unknown => "stopped",
    }
}

fn part(state: &PartState) -> String {
    match state {
        PartState::Up => "is up".to_owned(),
        PartState::Starting => "is starting".to_owned(),
        PartState::Down { reason } => format!("is down: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::Version;

    use super::*;

    #[test]
    fn a_received_update_reads_as_a_sentence() {
        let names = Names { peer: &|peer| format!(":900{}", peer.0[0]), file: &|_| "song.ogg".to_owned() };
        let (peer, from) = (PeerId([2; 32]), PeerId([1; 32]));
        let (file, version) = ("f".parse().unwrap(), Version(3));
        let event = Event::UpdateReceived { peer, from, file, version, hops: Some(1), fresh: false, owner: None };
        let text = describe(&event, &names);
        assert_eq!(text, ":9002 received song.ogg v3 from :9001 (1 hop, known already)");
    }
}

//! How events and the states of parts are read: by what `kind` and `state` say.

use serde::{Deserialize, Deserializer};
use serde_json::Error;

use crate::wire::event::{Audience, Event, PartState};
use crate::wire::lab;
use crate::wire::members::{Members, unknown};

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, event)
    }
}

#[expect(clippy::too_many_lines, reason = "a row for each event")]
fn event(members: &mut Members) -> Result<Event, Error> {
    Ok(match members.tag("kind")?.as_str() {
        "file_stored" => Event::FileStored {
            file: members.take("file")?,
            version: members.take("version")?,
            change: members.take("change")?,
            size_bytes: members.take("size_bytes")?,
            audience: Audience::default(),
        },
        "file_published" => {
            Event::FilePublished { file: members.take("file")?, version: members.take("version")?, owner: None }
        }
        "file_forwarded" => Event::FileForwarded {
            file: members.take("file")?,
            version: members.take("version")?,
            entry: members.take("entry")?,
            owner: None,
        },
        "dead_lettered" => {
            Event::DeadLettered { message_id: members.take("message_id")?, reason: members.take("reason")? }
        }
        "update_received" => Event::UpdateReceived {
            peer: members.take("peer")?,
            from: members.take("from")?,
            file: members.take("file")?,
            version: members.take("version")?,
            hops: members.take("hops")?,
            fresh: members.take("fresh")?,
            owner: None,
        },
        "update_applied" => Event::UpdateApplied {
            peer: members.take("peer")?,
            file: members.take("file")?,
            version: members.take("version")?,
            files: members.take("files")?,
            owner: None,
        },
        "peer_started" => Event::PeerStarted {
            peer: members.take("peer")?,
            addr: members.take("addr")?,
            files: members.take("files")?,
        },
        "peer_stopped" => Event::PeerStopped { peer: members.take("peer")?, state: members.take("state")? },
        "peer_forgotten" => Event::PeerForgotten { peer: members.take("peer")? },
        "peer_told" => Event::PeerTold {
            peer: members.take("peer")?,
            addr: members.take("addr")?,
            files: members.take("files")?,
            neighbours: members.take("neighbours")?,
        },
        "same_identity" => Event::SameIdentity {
            peer: members.take("peer")?,
            addr: members.take("addr")?,
            stands_by: members.take("stands_by")?,
        },
        "peer_back" => Event::PeerBack { peer: members.take("peer")? },
        "peer_learned" => Event::PeerLearned { peer: members.take("peer")?, addr: members.take("addr")? },
        "link_up" => Event::LinkUp {
            peer: members.take("peer")?,
            neighbour: members.take("neighbour")?,
            addr: members.take("addr")?,
        },
        "link_down" => Event::LinkDown {
            peer: members.take("peer")?,
            neighbour: members.take("neighbour")?,
            reason: members.take("reason")?,
        },
        "broker" => Event::Broker { state: members.take("state")? },
        "bridge" => Event::Bridge { state: members.take("state")? },
        "condition_raised" => {
            Event::ConditionRaised { condition: members.take("condition")?, detail: members.take("detail")? }
        }
        "condition_cleared" => Event::ConditionCleared { condition: members.take("condition")? },
        "lab" => Event::Lab {
            run: members.take("run")?,
            thread: members.take("thread")?,
            step: lab::reading::step(members)?,
        },
        "lab_race" => Event::LabRace { run: members.take("run")?, result: members.take("result")? },
        "lab_finished" => Event::LabFinished { run: members.take("run")? },
        other => return unknown(other),
    })
}

impl<'de> Deserialize<'de> for PartState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, part)
    }
}

fn part(members: &mut Members) -> Result<PartState, Error> {
    Ok(match members.tag("state")?.as_str() {
        "up" => PartState::Up,
        "starting" => PartState::Starting,
        "down" => PartState::Down { reason: members.take("reason")? },
        other => return unknown(other),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use crate::ids::{FileId, PeerId, Version};
    use crate::wire::condition::Condition;
    use crate::wire::event::PeerState;
    use crate::wire::lab::{LabStep, LabThread, RaceOut};
    use crate::wire::queue::ChangeKind;

    use super::*;

    const PEER: PeerId = PeerId([7; 32]);

    fn file() -> FileId {
        "f".parse().unwrap()
    }

    /// An event of the next kind, so that none can be forgotten; `None` after the last.
    fn after(event: &Event) -> Option<Event> {
        let (peer, from, neighbour, file, version) = (PEER, PEER, PEER, file(), Version(3));
        let owner = None;
        let (text, addr) = ("a \"text\"".to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, 9001)));
        Some(match event {
            Event::FileStored { .. } => Event::FilePublished { file, version, owner },
            Event::FilePublished { .. } => Event::FileForwarded { file, version, entry: addr, owner },
            Event::FileForwarded { .. } => Event::DeadLettered { message_id: text.clone(), reason: text },
            Event::DeadLettered { .. } => {
                Event::UpdateReceived { peer, from, file, version, hops: Some(3), fresh: true, owner }
            }
            Event::UpdateReceived { hops: Some(_), .. } => {
                Event::UpdateReceived { peer, from, file, version, hops: None, fresh: false, owner }
            }
            Event::UpdateReceived { hops: None, .. } => Event::UpdateApplied { peer, file, version, files: 4, owner },
            Event::UpdateApplied { .. } => Event::PeerStarted { peer, addr, files: 5 },
            Event::PeerStarted { .. } => Event::PeerStopped { peer, state: PeerState::Killed },
            Event::PeerStopped { .. } => Event::PeerForgotten { peer },
            Event::PeerForgotten { .. } => Event::PeerTold { peer, addr, files: 6, neighbours: [from].into() },
            Event::PeerTold { .. } => Event::SameIdentity { peer, addr, stands_by: true },
            Event::SameIdentity { .. } => Event::PeerBack { peer },
            Event::PeerBack { .. } => Event::PeerLearned { peer, addr },
            Event::PeerLearned { .. } => Event::LinkUp { peer, neighbour, addr },
            Event::LinkUp { .. } => Event::LinkDown { peer, neighbour, reason: text },
            Event::LinkDown { .. } => Event::Broker { state: PartState::Down { reason: text } },
            Event::Broker { .. } => Event::Bridge { state: PartState::Up },
            Event::Bridge { state: PartState::Up } => Event::Bridge { state: PartState::Starting },
            Event::Bridge { .. } => Event::ConditionRaised { condition: Condition::DiskFull, detail: text },
            Event::ConditionRaised { .. } => Event::ConditionCleared { condition: Condition::DiskFull },
            Event::ConditionCleared { .. } => {
                Event::Lab { run: text, thread: LabThread::Consumer(2), step: LabStep::Took { depth: 1 } }
            }
            Event::Lab { .. } => Event::LabRace { run: text, result: race() },
            Event::LabRace { .. } => Event::LabFinished { run: text },
            Event::LabFinished { .. } => return None,
        })
    }

    fn race() -> RaceOut {
        let (expected, actual, lost) = (6, 4, 2);
        RaceOut { method: "load+store".to_owned(), threads: 2, expected, actual, lost, elapsed_us: 7, per_second: 8 }
    }

    #[test]
    fn every_kind_of_event_is_read_as_it_was_written() {
        let (version, change, audience) = (Version(3), ChangeKind::Updated, Audience::default());
        let first = Event::FileStored { file: file(), version, change, size_bytes: 9, audience };
        for event in std::iter::successors(Some(first), after) {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }

    #[test]
    fn who_may_see_a_file_stays_in_the_process() {
        let user = |name: &str| name.parse().unwrap();
        let audience = Audience { owner: Some(user("alice")), shared_with: vec![user("bob")] };
        let (version, change) = (Version(3), ChangeKind::Updated);
        let stored = Event::FileStored { file: file(), version, change, size_bytes: 9, audience };
        let published = Event::FilePublished { file: file(), version, owner: Some(user("alice")) };
        for event in [stored, published] {
            let text = serde_json::to_string(&event).unwrap();
            assert!(!text.contains("alice") && !text.contains("bob"), "{text}");
        }
    }

    #[test]
    fn what_is_no_event_is_said() {
        let refused = |text: &str| serde_json::from_str::<Event>(text).unwrap_err().to_string();
        assert!(refused(r#"{"kind":"rumour"}"#).contains("\"rumour\""));
        assert!(refused("{}").contains("kind"));
        assert!(refused(r#"{"kind":"file_published","file":"f"}"#).contains("version"));
        assert!(refused("[1]").contains("map"));
    }
}

//! How events and the states of parts are read: by what `kind` and `state` say.

use serde::{Deserialize, Deserializer};
use serde_json::Error;

use crate::wire::event::PartState;
use crate::wire::members::{Members, unknown};

/// Declares the events: a row for each, with its name on the wire and what it tells. What a row says behind a `=` reads that
/// member in another way than by its name.
macro_rules! events {
    (
        $($(#[$what:meta])* $name:ident = $kind:literal {
            $($(#[$tells:meta])* $member:ident: $type:ty $(= $read:expr)?),* $(,)?
        }),* $(,)?
    ) => {
        /// What can happen.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Event {
            $($(#[$what])* $name { $($(#[$tells])* $member: $type),* }),*
        }

        impl<'de> serde::Deserialize<'de> for Event {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::wire::members::Members::read(deserializer, |members| {
                    Ok(match members.tag("kind")?.as_str() {
                        $($kind => Self::$name {
                            $($member: crate::wire::event::reading::member!(members, $member $(, $read)?)),*
                        },)*
                        other => return crate::wire::members::unknown(other),
                    })
                })
            }
        }
    };
}

/// Takes a member by its name, or as it is said.
macro_rules! member {
    ($members:ident, $member:ident) => {
        $members.take(stringify!($member))?
    };
    ($members:ident, $member:ident, $read:expr) => {
        $read($members)?
    };
}

pub(super) use {events, member};

/// Returns what isn't sent as if nothing were known of it.
#[expect(clippy::unnecessary_wraps, reason = "as all that reads members")]
pub(super) fn unsent<T: Default>(_: &mut Members) -> Result<T, Error> {
    Ok(T::default())
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
    use crate::wire::event::{Audience, Event, PeerState};
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

//! The way of one version of a file: stored, published, on an entry peer's disk, at the peers. What this page wasn't told
//! is unknown, and what was reached stays as it was reached.

use shared::ids::{FileId, Version};
use shared::wire::file_view::{FileView, Reach};
use shared::wire::overview::Overview;

use crate::format;

/// One step of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Step {
    /// Nobody told whether it has happened.
    #[default]
    Unknown,
    /// It hasn't happened yet.
    NotYet,
    /// It is done.
    Done {
        /// Milliseconds since the version was stored, where both times are known.
        after_ms: Option<u64>,
    },
}

/// That a version had reached all peers that could be reached, when it first had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The peers that had it.
    pub peers: u32,
    /// The peers that there were, those that were down included.
    pub members: u32,
    /// Milliseconds since it was stored, where that is known.
    pub after_ms: Option<u64>,
}

/// How far a version has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// On stable storage.
    pub stored: Step,
    /// Confirmed by the broker.
    pub published: Step,
    /// On the disk of the peer through which it entered the overlay. That peer answers when it is; the news spreads
    /// meanwhile, so this is no step before `arrival`.
    pub entered: Step,
    /// That all peers that could be reached had it.
    pub arrival: Option<Arrival>,
    /// Where it is now; absent where this page isn't told.
    pub reach: Option<Reach>,
    /// The newer version that has taken its place.
    pub successor: Option<Version>,
}

impl Way {
    /// The way of `version` of `file`, which the server has acknowledged.
    pub fn of(overview: &Overview, file: &FileId, version: Version) -> Self {
        let stored = Step::Done { after_ms: None };
        match overview.files.get(file) {
            Some(view) if view.version == version => {
                Self { stored, reach: overview.reach(file), ..Self::told(view, overview.bridge.is_some()) }
            }
            Some(view) if view.version > version => Self { stored, successor: Some(view.version), ..Self::default() },
            // The stream doesn't tell of it: not yet, or no longer.
            Some(_) | None => Self { stored, ..Self::default() },
        }
    }

    fn told(view: &FileView, bridge: bool) -> Self {
        let after = |at_ms: u64| view.stored_ms.map(|stored_ms| at_ms.saturating_sub(stored_ms));
        let done = |at_ms: Option<u64>| at_ms.map(|at_ms| Step::Done { after_ms: after(at_ms) });
        // Who was told of the first step is told of the others. The bridge may be another process, which tells nobody.
        let open = |tells: bool| if tells && view.stored_ms.is_some() { Step::NotYet } else { Step::Unknown };
        let entered = done(view.forwarded_ms).unwrap_or(open(bridge));
        // What the bridge got, it got from the broker.
        let published = match entered {
            Step::Done { .. } => Step::Done { after_ms: None },
            Step::Unknown | Step::NotYet => open(true),
        };
        Self {
            published: done(view.published_ms).unwrap_or(published),
            entered,
            arrival: view.reached.map(|reached| Arrival {
                peers: reached.peers,
                members: reached.members,
                after_ms: after(reached.at_ms),
            }),
            ..Self::default()
        }
    }

    /// The same with what was known `before` of the same version and isn't told any more, as after the server's restart.
    #[must_use]
    pub fn after(self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        // What is done stays done, and its first time stays.
        let step = |now: Step, before: Step| {
            if let Step::Done { after_ms: Some(_) } = before { before } else { now.max(before) }
        };
        Self {
            stored: step(self.stored, before.stored),
            published: step(self.published, before.published),
            entered: step(self.entered, before.entered),
            arrival: before.arrival.or(self.arrival),
            ..self
        }
    }

    /// The result in words: what was reached, or how far it is.
    pub fn result(&self) -> String {
        let Some(arrival) = self.arrival else {
            return self.reach.map_or_else(|| "peers".to_owned(), |reach| reach_words(&reach));
        };
        let Arrival { peers, members, after_ms } = arrival;
        let time = after_ms.map(|ms| format!(", {} after it was stored", format::millis(ms))).unwrap_or_default();
        let down = members.saturating_sub(peers);
        let missing = if down > 0 { format!("; {down} down then") } else { String::new() };
        format!("{peers} of {}{time}{missing}", format::counted(members.into(), "peer"))
    }

    /// What has changed since the result was reached.
    pub fn since(&self) -> Option<String> {
        if let Some(version) = self.successor {
            return Some(format!("v{version} has taken its place"));
        }
        let (arrival, reach) = (self.arrival?, self.reach?);
        let same = (reach.have, reach.members()) == (arrival.peers, arrival.members);
        (!same).then(|| format!("now {}", reach_words(&reach)))
    }

    /// Whether every peer that there was had it, those that were down included.
    pub fn is_whole(&self) -> bool {
        match (self.arrival, self.reach) {
            (Some(arrival), _) => arrival.peers == arrival.members,
            (None, reach) => reach.is_some_and(|reach| reach.is_whole()),
        }
    }

    /// The step to the peers: done when all that could be reached had it.
    pub fn spread(&self) -> Step {
        match (self.arrival, self.reach) {
            (Some(Arrival { after_ms, .. }), _) => Step::Done { after_ms },
            (None, Some(reach)) if reach.is_whole() => Step::Done { after_ms: None },
            (None, Some(_)) => Step::NotYet,
            (None, None) => Step::Unknown,
        }
    }
}

/// Where a version is, in words.
pub fn reach_words(reach: &Reach) -> String {
    let all = match reach.members() {
        0 => "no peers here".to_owned(),
        members => format!("{} of {}", reach.have, format::counted(members.into(), "peer")),
    };
    let others = [(reach.behind, "behind"), (reach.down, "down"), (reach.elsewhere, "elsewhere not known")];
    let others = others.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    std::iter::once(all).chain(others).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use shared::ids::PeerId;
    use shared::wire::event::{Audience, Entry, Event, PeerState};
    use shared::wire::queue::ChangeKind;

    use super::*;

    const V1: Version = Version(1);

    fn file() -> FileId {
        "f".parse().unwrap()
    }

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn started(n: u8) -> Event {
        Event::PeerStarted { peer: peer(n), addr: ([127, 0, 0, 1], 9000 + u16::from(n)).into(), files: 0 }
    }

    fn killed(n: u8) -> Event {
        Event::PeerStopped { peer: peer(n), state: PeerState::Killed }
    }

    fn stored() -> Event {
        changed(V1, ChangeKind::Uploaded)
    }

    fn changed(version: Version, change: ChangeKind) -> Event {
        Event::FileStored { file: file(), version, change, size_bytes: 1, audience: Audience::default() }
    }

    fn published() -> Event {
        Event::FilePublished { file: file(), version: V1, owner: None }
    }

    fn forwarded() -> Event {
        Event::FileForwarded { file: file(), version: V1, entry: ([127, 0, 0, 1], 9001).into(), owner: None }
    }

    fn applied(n: u8) -> Event {
        Event::UpdateApplied { peer: peer(n), file: file(), version: V1, files: 1, owner: None }
    }

    fn feed(overview: &mut Overview, events: impl IntoIterator<Item = (u64, Event)>) {
        for (at_ms, event) in events {
            let seq = overview.seq + 1;
            overview.apply(&Entry { seq, at_ms, event });
        }
    }

    fn after(events: impl IntoIterator<Item = (u64, Event)>) -> Overview {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, events);
        overview
    }

    fn way(overview: &Overview) -> Way {
        Way::of(overview, &file(), V1)
    }

    const STORED: Step = Step::Done { after_ms: None };

    #[test]
    fn an_acknowledged_upload_is_stored_while_the_broker_is_away() {
        let way = way(&after([(1, started(1)), (10, stored())]));
        assert_eq!((way.stored, way.published, way.entered), (STORED, Step::NotYet, Step::NotYet));
        assert_eq!((way.spread(), way.result().as_str()), (Step::NotYet, "0 of 1 peer, 1 behind"));
    }

    #[test]
    fn an_acknowledged_upload_is_stored_where_there_are_no_peers() {
        let way = way(&after([(10, stored()), (12, published())]));
        assert_eq!((way.stored, way.published), (STORED, Step::Done { after_ms: Some(2) }));
        assert_eq!((way.spread(), way.result().as_str()), (Step::NotYet, "no peers here"));
    }

    #[test]
    fn an_older_upload_is_stored_and_the_rest_unknown_after_a_restart() {
        let mut overview = Overview::new(10, true);
        assert_eq!(way(&overview), Way { stored: STORED, ..Way::default() }, "nobody tells of it");
        overview.load_catalogue(peer(1), [(file(), V1)]);
        feed(&mut overview, [(5, started(1))]);
        let way = way(&overview);
        assert_eq!((way.stored, way.published, way.entered), (STORED, Step::Unknown, Step::Unknown));
        assert_eq!(
            (way.spread(), way.result().as_str()),
            (STORED, "1 of 1 peer"),
            "who has it is known, not since when"
        );
    }

    #[test]
    fn where_the_bridge_is_another_process_its_step_is_unknown() {
        let mut overview = Overview::new(10, false);
        feed(&mut overview, [(10, stored()), (12, published())]);
        assert_eq!(way(&overview).entered, Step::Unknown);
    }

    #[test]
    fn the_entry_peers_answer_comes_beside_the_spread_and_not_before_it() {
        let mut overview = after([(1, started(1)), (10, stored()), (11, published()), (12, applied(1))]);
        assert_eq!((way(&overview).spread(), way(&overview).entered), (Step::Done { after_ms: Some(2) }, Step::NotYet));
        feed(&mut overview, [(87, forwarded())]);
        assert_eq!(way(&overview).spread(), Step::Done { after_ms: Some(2) });
        assert_eq!(way(&overview).entered, Step::Done { after_ms: Some(77) });
    }

    #[test]
    fn what_the_bridge_got_was_published() {
        let overview = after([(10, stored()), (20, forwarded())]);
        assert_eq!(way(&overview).published, Step::Done { after_ms: None });
    }

    #[test]
    fn a_result_is_frozen_when_it_is_reached() {
        let mut overview =
            after([(1, started(1)), (1, started(2)), (10, stored()), (11, applied(1)), (12, applied(2))]);
        let result = "2 of 2 peers, 2 ms after it was stored";
        assert_eq!((way(&overview).result().as_str(), way(&overview).since()), (result, None));
        feed(&mut overview, [(1000, killed(2))]);
        assert_eq!(way(&overview).result(), result);
        assert_eq!(way(&overview).since().as_deref(), Some("now 1 of 2 peers, 1 down"));
        overview.load_catalogue(peer(2), [(file(), V1)]);
        feed(&mut overview, [(5710, started(2))]);
        assert_eq!((way(&overview).result().as_str(), way(&overview).since()), (result, None));
        feed(&mut overview, [(7000, started(3)), (7300, applied(3))]);
        assert_eq!(way(&overview).result(), result);
        assert_eq!(way(&overview).since().as_deref(), Some("now 3 of 3 peers"));
    }

    #[test]
    fn dead_peers_stay_in_the_number_of_members() {
        let mut overview = after((1..=5).map(|n| (1, started(n))));
        feed(&mut overview, [(2, killed(4)), (2, killed(5)), (10, stored())]);
        feed(&mut overview, (1..=3).map(|n| (12, applied(n))));
        let way = way(&overview);
        assert_eq!(way.result(), "3 of 5 peers, 2 ms after it was stored; 2 down then");
        assert!(!way.is_whole());
        assert_eq!(
            way.reach.map(|reach| (reach_words(&reach), reach.is_whole())),
            Some(("3 of 5 peers, 2 down".to_owned(), false))
        );
    }

    #[test]
    fn up_behind_gone_and_unknown_are_told_apart() {
        let reach = Reach { have: 2, behind: 1, down: 2, elsewhere: 3 };
        assert_eq!(reach_words(&reach), "2 of 5 peers, 1 behind, 2 down, 3 elsewhere not known");
    }

    #[test]
    fn what_the_page_saw_outlives_a_restart_of_the_server() {
        let seen = way(&after([(1, started(1)), (10, stored()), (11, published()), (12, applied(1))]));
        let restarted = way(&Overview::new(10, true)).after(Some(&seen));
        assert_eq!(restarted.published, Step::Done { after_ms: Some(1) });
        assert_eq!(restarted.result(), "1 of 1 peer, 2 ms after it was stored");
    }

    #[test]
    fn the_way_of_a_version_isnt_that_of_its_successor() {
        let mut overview = after([(1, started(1)), (10, stored()), (12, applied(1))]);
        let seen = way(&overview);
        feed(&mut overview, [(50, changed(Version(2), ChangeKind::Updated))]);
        let replaced = way(&overview).after(Some(&seen));
        assert_eq!(replaced.result(), "1 of 1 peer, 2 ms after it was stored");
        assert_eq!(replaced.since().as_deref(), Some("v2 has taken its place"));
    }
}

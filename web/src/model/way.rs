//! The way of one file's latest version: stored, published, forwarded, at the peers; with the time between the steps.

use shared::ids::{FileId, Version};
use shared::wire::overview::{FileView, Overview};

/// One step of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It hasn't been seen.
    Open,
    /// It is done.
    Done {
        /// Milliseconds since the step before it, where both times are known.
        after_ms: Option<u64>,
    },
}

/// How far a version has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The version.
    pub version: Version,
    /// On stable storage.
    pub stored: Step,
    /// Confirmed by the broker.
    pub published: Step,
    /// Accepted by an entry peer.
    pub forwarded: Step,
    /// Running local peers that know it.
    pub reached: u32,
    /// Running local peers.
    pub running: u32,
    /// Milliseconds from stored to the last of the peers that have it.
    pub spread_ms: Option<u64>,
}

impl Way {
    /// The way of `file`'s latest version; `None` where the stream no longer tells of it.
    pub fn of(overview: &Overview, file: &FileId) -> Option<Self> {
        let view = overview.files.get(file)?;
        let stored_ms = view.stored_ms;
        let last_ms = last_holder_ms(view);
        Some(Self {
            version: view.version,
            stored: step(None, stored_ms),
            published: step(stored_ms, view.published_ms),
            forwarded: step(view.published_ms, view.forwarded_ms),
            reached: overview.reached(file, view.version).unwrap_or(0),
            running: overview.running(),
            spread_ms: Some(last_ms?.saturating_sub(stored_ms?)),
        })
    }

    /// Whether every running peer has it.
    pub fn is_everywhere(&self) -> bool {
        self.reached >= self.running && self.running > 0
    }
}

fn step(before_ms: Option<u64>, at_ms: Option<u64>) -> Step {
    match at_ms {
        None => Step::Open,
        Some(at_ms) => Step::Done { after_ms: before_ms.map(|before_ms| at_ms.saturating_sub(before_ms)) },
    }
}

fn last_holder_ms(view: &FileView) -> Option<u64> {
    view.holders.values().filter(|held| held.version >= view.version).map(|held| held.since_ms).max()
}

#[cfg(test)]
mod tests {
    use shared::ids::PeerId;
    use shared::wire::queue::ChangeKind;
    use shared::wire::stream::{Entry, Event};

    use super::*;

    #[test]
    fn each_step_tells_the_time_since_the_one_before() {
        let mut overview = Overview::new(10, true);
        let file: FileId = "f".parse().unwrap();
        let (peer, version) = (PeerId([1; 32]), Version(1));
        let change = ChangeKind::Uploaded;
        let addr = ([127, 0, 0, 1], 9001).into();
        let events = [
            (1, Event::PeerStarted { peer, addr, files: 0 }),
            (10, Event::FileStored { file: file.clone(), version, change, size_bytes: 1 }),
            (13, Event::FilePublished { file: file.clone(), version }),
            (20, Event::FileForwarded { file: file.clone(), version, entry: addr }),
            (21, Event::UpdateApplied { peer, file: file.clone(), version }),
        ];
        for (seq, (at_ms, event)) in (1..).zip(events) {
            overview.apply(&Entry { seq, at_ms, event });
        }
        let way = Way::of(&overview, &file).unwrap();
        assert_eq!(way.published, Step::Done { after_ms: Some(3) });
        assert_eq!(way.forwarded, Step::Done { after_ms: Some(7) });
        assert_eq!((way.reached, way.running, way.spread_ms), (1, 1, Some(11)));
        assert!(way.is_everywhere());
        assert_eq!(Way::of(&overview, &"g".parse().unwrap()), None);
    }
}

//! The last broadcasts, to answer grafts with.

use std::collections::{BTreeMap, VecDeque};

use crate::wire::peer::{IdRange, MessageId, Payload};

/// Something on its way.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Over how many links it has come.
    pub hops: u16,
    /// What it says.
    pub payload: Payload,
}

/// Broadcasts to answer grafts with.
#[derive(Debug, Default)]
pub struct Recent {
    kept: BTreeMap<MessageId, Pushed>,
    order: VecDeque<MessageId>,
}

impl Recent {
    /// Keeps one more; the oldest gives way where there are more than `limit`.
    pub fn keep(&mut self, id: MessageId, pushed: Pushed, limit: usize) {
        if self.kept.insert(id, pushed).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > limit {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
    }

    /// Those of a range that are still here.
    pub fn of_range(&self, range: IdRange) -> impl Iterator<Item = (MessageId, &Pushed)> {
        let id = |seq| MessageId { source: range.source, seq };
        let bounds = (range.first <= range.last).then(|| id(range.first)..=id(range.last));
        let kept = bounds.map(|bounds| self.kept.range(bounds));
        kept.into_iter().flatten().map(|(id, pushed)| (*id, pushed))
    }
}

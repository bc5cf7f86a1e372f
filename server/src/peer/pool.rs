//! One copy of what several peers of a process hear alike: a thousand of them would keep a thousand copies of each
//! change and of each record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::gossip::census::short_name;
use shared::wire::census::Record;
use shared::wire::peer::{Payload, PeerMessage};
use shared::wire::update::FileUpdate;

use crate::connection::codec::Decoded;

/// Bits of a place's number: for 16,384 of the last things of each kind. Where two fall into one place the newer stays,
/// and whoever hears the other again keeps a copy of its own.
const PLACE_BITS: u32 = 14;
/// 2^64 by the golden ratio (Knuth, "The Art of Computer Programming", volume 3, section 6.4): spreads what is alike.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the peers of a process share; clones are the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    /// A lock is enough: it is held for what came with one read.
    places: Arc<Mutex<Places>>,
}

#[derive(Debug)]
struct Places {
    updates: Vec<Option<Arc<FileUpdate>>>,
    records: Vec<Option<Arc<Record>>>,
}

impl Default for Pool {
    fn default() -> Self {
        let places = Places { updates: vec![None; 1 << PLACE_BITS], records: vec![None; 1 << PLACE_BITS] };
        Self { places: Arc::new(Mutex::new(places)) }
    }
}

impl Pool {
    /// Puts what is known already in the place of its copies.
    pub fn share(&self, decoded: &mut Decoded) {
        let Decoded::Messages(messages) = decoded else { return };
        let Places { updates, records } = &mut *self.lock();
        for message in messages {
            match message {
                PeerMessage::Broadcast { payload: Payload::Update(update), .. } => share_update(updates, update),
                PeerMessage::Broadcast { payload: Payload::Record(record), .. } => share_record(records, record),
                PeerMessage::State { entries, .. } => {
                    for update in entries {
                        share_update(updates, update);
                    }
                }
                PeerMessage::Records { entries, .. } => {
                    for record in entries {
                        share_record(records, record);
                    }
                }
                _ => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn share_update(places: &mut [Option<Arc<FileUpdate>>], update: &mut Arc<FileUpdate>) {
    share(places, update.stamp.0 ^ update.version.0, update);
}

fn share_record(places: &mut [Option<Arc<Record>>], record: &mut Arc<Record>) {
    share(places, short_name(record.peer), record);
}

fn share<T: Eq>(places: &mut [Option<Arc<T>>], number: u64, one: &mut Arc<T>) {
    let place = usize::try_from(number.wrapping_mul(SPREAD) >> (u64::BITS - PLACE_BITS)).unwrap_or(0);
    match places.get_mut(place) {
        Some(Some(known)) if known == one => *one = known.clone(),
        Some(place) => *place = Some(one.clone()),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{PeerId, Version};
    use shared::stamp::Stamp;
    use shared::wire::broadcast::{MessageId, Source};

    use super::*;

    fn heard(version: u64, pool: &Pool) -> Arc<FileUpdate> {
        let update = Arc::new(FileUpdate::injected("f".parse().unwrap(), Version(version), Stamp(7), PeerId([1; 32])));
        let id = MessageId { source: Source(1), seq: version };
        let message = PeerMessage::Broadcast { id, hops: 0, payload: Payload::Update(update) };
        let mut decoded = Decoded::Messages(vec![message]);
        pool.share(&mut decoded);
        match decoded {
            Decoded::Messages(mut messages) => match messages.pop() {
                Some(PeerMessage::Broadcast { payload: Payload::Update(update), .. }) => update,
                other => panic!("{other:?}"),
            },
            Decoded::Lines(lines) => panic!("{lines:?}"),
        }
    }

    #[test]
    fn what_two_peers_hear_alike_is_there_once() {
        let pool = Pool::default();
        let first = heard(1, &pool);
        assert!(Arc::ptr_eq(&first, &heard(1, &pool)));
        let other = heard(2, &pool);
        assert_eq!(other.version, Version(2));
        assert!(!Arc::ptr_eq(&first, &other));
    }
}

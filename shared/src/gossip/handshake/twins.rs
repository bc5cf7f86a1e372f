//! Two peers of one identity, as when a data directory was copied. Each life of a peer says in its hello when it began: of
//! two that live, the younger stays out. It looks after a while whether the older still answers, and comes back if it
//! doesn't.
//!
//! Who is linked with the one and greeted by the other tells that one where the first is ([`super::twin_of`]). So both meet,
//! and each knows for certain that the other lives. Whoever isn't linked with both hears of the other by its record.

use crate::gossip::runtime::Runtime;
use crate::wire::census::Record;
use crate::wire::peer::Incarnation;

/// Who says hello with this node's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Myself {
    /// This node itself: it has dialled itself.
    Itself,
    /// A twin that began earlier: this node stays out.
    Older,
    /// A twin that began later: that one stays out.
    Younger,
}

/// Who says hello with this node's own id, in some life as far as it says. The smaller life is the older.
pub fn meet(theirs: Option<Incarnation>, mine: Incarnation) -> Myself {
    match theirs {
        Some(theirs) if theirs < mine => Myself::Older,
        Some(theirs) if theirs > mine => Myself::Younger,
        Some(_) | None => Myself::Itself,
    }
}

/// Whether a record of this node's own id is from a twin that began later, and may still live.
pub fn is_of_younger(record: &Record, rt: &Runtime) -> bool {
    let life = Incarnation { started: record.started, source: record.source };
    life > rt.life && !record.left && !rt.leaving
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::broadcast::Source;

    #[test]
    fn of_two_lives_the_one_that_began_earlier_goes_on() {
        let life = |started, source| Incarnation { started, source: Source(source) };
        assert_eq!(meet(Some(life(1, 9)), life(2, 0)), Myself::Older);
        assert_eq!(meet(Some(life(2, 1)), life(2, 0)), Myself::Younger);
        assert_eq!(meet(Some(life(2, 0)), life(2, 0)), Myself::Itself);
        assert_eq!(meet(None, life(2, 0)), Myself::Itself);
    }
}

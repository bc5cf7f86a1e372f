//! Who is taken into the active view, and whom a full peer drops for a newcomer.

use crate::gossip::config::Views;
use crate::gossip::io::LinkId;
use crate::gossip::links::Links;
use crate::rng::Rng;
use crate::wire::peer::Purpose;

/// What is known of somebody that asks for a place: whether it is of this node's overlay already, which nobody knows
/// without a census.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// It can be reached over neighbours.
    Mine,
    /// It can't.
    Another,
    /// Nobody knows.
    Unknown,
}

/// Whether somebody is taken in who dialled with a purpose; `overlay` is only asked where that matters.
pub fn takes(purpose: Purpose, active: usize, config: &Views, overlay: impl Fn() -> Overlay) -> bool {
    let room = active < config.active_max;
    match purpose {
        Purpose::Join => true,
        Purpose::Probe if active < config.active => true,
        Purpose::Probe => match overlay() {
            Overlay::Unknown => room,
            Overlay::Another => true,
            Overlay::Mine => false,
        },
        Purpose::Neighbour | Purpose::Answer | Purpose::Submit => room,
    }
}

/// Who goes if there are too many neighbours: one on whose link nothing is pushed, if there is one (departing from
/// `HyParView`, section 4.2, which chooses by chance alone), so that the tree stays whole.
///
/// For who joins, the youngest goes: its own walks are under way by then, and those of all who follow begin at
/// neighbours that have been here for long. Where many join through one peer, its neighbours would else be the last
/// who did, their walks would end among themselves, and the overlay would be as long as it is large. What was but a
/// probe isn't worth a link of the tree.
pub fn whom_to_drop(
    (newcomer, purpose): (LinkId, Purpose),
    links: &Links,
    config: &Views,
    is_in_tree: impl Fn(LinkId) -> bool,
    rng: &mut Rng,
) -> Option<LinkId> {
    if links.active() <= config.active_max {
        return None;
    }
    let others = links.neighbours_but(newcomer);
    let lazy: Vec<LinkId> = others.iter().copied().filter(|id| !is_in_tree(*id)).collect();
    match purpose {
        Purpose::Probe if lazy.is_empty() => Some(newcomer),
        Purpose::Join => youngest(if lazy.is_empty() { others } else { lazy }, links),
        Purpose::Probe | Purpose::Neighbour | Purpose::Answer | Purpose::Submit => {
            rng.pick(if lazy.is_empty() { others } else { lazy })
        }
    }
}

fn youngest(candidates: Vec<LinkId>, links: &Links) -> Option<LinkId> {
    candidates.into_iter().max_by_key(|id| links.get(*id).map(|link| link.opened))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::gossip::config::Limits;
    use crate::gossip::links::Role;
    use crate::ids::PeerId;
    use crate::time::Instant;

    fn config() -> Views {
        Views { active: 2, active_max: 3, ..Views::default() }
    }

    /// Neighbours on links 0, 1, 2, ..., each a second younger than the one before.
    fn links(count: u8) -> Links {
        let mut links = Links::new(Limits::default());
        for number in 0..count {
            let (id, addr) = (LinkId(number.into()), SocketAddr::from(([10, 0, 0, number], 1)));
            links.open(id, addr, None, Instant::from_micros(u64::from(number) * 1_000_000));
            links.identify(id, Role::Neighbour { peer: PeerId([number; 32]), addr });
        }
        links
    }

    fn dropped(purpose: Purpose, count: u8, tree: &[u64]) -> Option<u64> {
        let newcomer = LinkId(u64::from(count) - 1);
        let is_in_tree = |id: LinkId| tree.contains(&id.0);
        let mut rng = Rng::from_seed(1);
        whom_to_drop((newcomer, purpose), &links(count), &config(), is_in_tree, &mut rng).map(|id| id.0)
    }

    #[test]
    fn nobody_goes_while_there_is_room() {
        assert_eq!(dropped(Purpose::Join, 3, &[]), None);
    }

    #[test]
    fn for_who_joins_the_youngest_goes_that_the_tree_does_not_need() {
        assert_eq!(dropped(Purpose::Join, 4, &[2]), Some(1));
        assert_eq!(dropped(Purpose::Join, 4, &[0, 1, 2]), Some(2));
    }

    #[test]
    fn a_link_of_the_tree_goes_for_a_neighbour_only_if_there_is_no_other() {
        assert_eq!(dropped(Purpose::Neighbour, 4, &[0, 2]), Some(1));
        assert!(dropped(Purpose::Neighbour, 4, &[0, 1, 2]).is_some_and(|gone| gone < 3));
    }

    #[test]
    fn a_probe_is_not_worth_a_link_of_the_tree() {
        assert_eq!(dropped(Purpose::Probe, 4, &[0, 1, 2]), Some(3));
        assert_eq!(dropped(Purpose::Probe, 4, &[0, 1]), Some(2));
    }

    #[test]
    fn who_joins_is_always_taken_and_a_probe_only_from_another_overlay_or_where_some_are_lacking() {
        let takes = |purpose, active, overlay| takes(purpose, active, &config(), || overlay);
        assert!(takes(Purpose::Join, 3, Overlay::Mine));
        assert!(takes(Purpose::Neighbour, 2, Overlay::Mine) && !takes(Purpose::Neighbour, 3, Overlay::Another));
        assert!(takes(Purpose::Probe, 3, Overlay::Another));
        assert!(takes(Purpose::Probe, 1, Overlay::Mine) && !takes(Purpose::Probe, 2, Overlay::Mine));
        assert!(takes(Purpose::Probe, 2, Overlay::Unknown) && !takes(Purpose::Probe, 3, Overlay::Unknown));
    }
}

//! What lies in the server's outbox, in words: how much waits, and for whom.

use shared::wire::event::PartState;
use shared::wire::overview::Overview;
use shared::wire::stream::OutboxView;

/// What waits; `None` when nothing does.
pub fn waiting(outbox: OutboxView, overview: &Overview) -> Option<String> {
    let count = outbox.waiting;
    let whom = match (&overview.broker, &overview.bridge) {
        (PartState::Down { .. } | PartState::Starting, _) => "waiting for the broker",
        (PartState::Up, Some(PartState::Down { .. } | PartState::Starting)) => "waiting for the bridge",
        (PartState::Up, Some(PartState::Up) | None) => "on the way to the peers",
    };
    (count > 0).then(|| format!("{count} {whom}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_blamed_on_the_part_that_it_waits_for() {
        let down = || PartState::Down { reason: "it's away".to_owned() };
        let words = |broker: PartState, bridge: PartState, waiting: u64| {
            let overview = Overview { broker, bridge: Some(bridge), ..Overview::new(10, true) };
            super::waiting(OutboxView { waiting, set_aside: 0 }, &overview)
        };
        assert_eq!(words(down(), down(), 13).as_deref(), Some("13 waiting for the broker"));
        assert_eq!(words(PartState::Up, down(), 13).as_deref(), Some("13 waiting for the bridge"));
        assert_eq!(words(PartState::Up, PartState::Up, 1).as_deref(), Some("1 on the way to the peers"));
        assert_eq!(words(down(), down(), 0), None);
    }
}

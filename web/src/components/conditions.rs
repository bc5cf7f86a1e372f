//! The faults that last: what is wrong now, since when.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoView, Signal, component,
    view,
};
use shared::wire::condition::Condition;

use crate::components::changing::rows;

/// One fault as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub condition: Condition,
    /// What it is this time.
    pub detail: String,
    /// Since when, as a time of day.
    pub since: String,
}

/// The faults, read out when one begins; nothing where there is none.
#[component]
pub fn Conditions(
    /// The faults.
    faults: Signal<Vec<Fault>>,
) -> impl IntoView {
    let row = |fault: Fault| {
        view! {
            <li>
                <strong>{fault.condition.to_string()}</strong>
                <span>{fault.detail}</span>
                <small>"since " {fault.since}</small>
            </li>
        }
    };
    view! {
        <div class="conditions" role="region" aria-label="What is wrong now" aria-live="polite" data-testid="conditions">
            <ul>
                // The text is part of the key: what is known of a fault may change.
                {rows(move || faults.get(), |fault| format!("{} {}", fault.condition, fault.detail), row)}
            </ul>
        </div>
    }
}

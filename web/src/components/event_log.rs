//! What happened, newest first.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoView, Signal, component,
    view,
};

use crate::components::changing::rows;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// The entry's number.
    pub seq: u64,
    /// When, as a time of day.
    pub time: String,
    /// What it is about.
    pub topic: &'static str,
    /// What happened.
    pub text: String,
}

/// The lines. Not read out: they come by the dozen.
#[component]
pub fn EventLog(
    /// The lines, newest first.
    lines: Signal<Vec<EventLine>>,
) -> impl IntoView {
    let row = |line: EventLine| {
        view! {
            <li data-testid="event-row">
                <time>{line.time}</time>
                <span class="topic" data-topic=line.topic>{line.topic}</span>
                <span>{line.text}</span>
            </li>
        }
    };
    view! {
        <div class="events" role="log" aria-live="off" aria-label="Events" tabindex="0">
            <ol>
                // The text is part of the key: a file's name may become known after the event.
                {rows(move || lines.get(), |line| format!("{} {}", line.seq, line.text), row)}
            </ol>
        </div>
    }
}

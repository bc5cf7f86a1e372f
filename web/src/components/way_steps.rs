//! The way of a version: what is done, what isn't yet, what isn't known; each time counted from when it was stored.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, IntoView, Signal, component, view,
};

use crate::components::changing::part;
use crate::format;
use crate::model::way::{Step, Way};

/// What follows from storing it, side by side, for none of these waits for another; below, where it is.
#[component]
pub fn WaySteps(
    /// How far it has come.
    way: Signal<Way>,
) -> impl IntoView {
    let steps = part(move || {
        let way = way.get();
        let steps = [("Stored", way.stored), ("Broker", way.published), ("Entry peer's disk", way.entered)];
        let steps = steps.map(|(name, step)| {
            let time = match step {
                Step::Done { after_ms: Some(ms) } => format!(" +{}", format::millis(ms)),
                Step::Done { after_ms: None } | Step::NotYet | Step::Unknown => String::new(),
            };
            item(mark(step), format!("{name}{time}"), "")
        });
        let reached = match way.spread() {
            Step::Done { .. } if !way.is_whole() => Mark { state: "part", glyph: "◐", said: "not all" },
            step => mark(step),
        };
        let since = way.since().map(|words| view! { <li>{words}</li> });
        Some((steps, item(reached, way.result(), "result"), since))
    });
    view! { <ul class="way" aria-label="The way of this upload, with the times since it was stored">{steps}</ul> }
}

/// How a step looks, and what is read out.
#[derive(Clone, Copy)]
struct Mark {
    state: &'static str,
    glyph: &'static str,
    said: &'static str,
}

fn mark(step: Step) -> Mark {
    match step {
        Step::Done { .. } => Mark { state: "done", glyph: "✓", said: "done" },
        Step::NotYet => Mark { state: "open", glyph: "○", said: "not yet" },
        Step::Unknown => Mark { state: "unknown", glyph: "?", said: "not known" },
    }
}

fn item(mark: Mark, words: String, class: &'static str) -> impl IntoView {
    let Mark { state, glyph, said } = mark;
    view! {
        <li data-step=state class=class>
            <span class="glyph" aria-hidden="true">{glyph}</span>
            {words}
            <span class="hidden">{format!(" ({said})")}</span>
        </li>
    }
}

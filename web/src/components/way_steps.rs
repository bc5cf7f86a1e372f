//! The way of a version as a row of steps.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, IntoView, Signal, component, view,
};

use crate::format;
use crate::model::way::{Step, Way};

/// Stored, published, forwarded, at the peers: what is done, and how long each step took after the one before.
#[component]
pub fn WaySteps(
    /// How far it has come; `None` where the stream doesn't tell (yet).
    way: Signal<Option<Way>>,
) -> impl IntoView {
    let steps = move || {
        let way = way.get();
        let step = |pick: fn(&Way) -> Step| way.as_ref().map_or(Step::Open, pick);
        [
            item("Stored", step(|way| way.stored)),
            item("Published", step(|way| way.published)),
            item("Forwarded", step(|way| way.forwarded)),
        ]
    };
    let peers = move || {
        let way = way.get();
        let done = way.as_ref().is_some_and(Way::is_everywhere);
        let (reached, running) = way.as_ref().map_or((0, 0), |way| (way.reached, way.running));
        let all = way.and_then(|way| way.spread_ms).filter(|_| done);
        view! {
            <li data-done=done.to_string()>
                {format!("{reached} of {running} peers")}
                {all.map(|ms| view! { <small>{format!("{} after it was stored", format::millis(ms))}</small> })}
            </li>
        }
    };
    view! { <ol class="way" aria-label="The way of this upload">{steps} {peers}</ol> }
}

fn item(name: &'static str, step: Step) -> impl IntoView {
    let (done, after_ms) = match step {
        Step::Open => (false, None),
        Step::Done { after_ms } => (true, after_ms),
    };
    view! {
        <li data-done=done.to_string()>
            {name} {after_ms.map(|ms| view! { <small>{format!("+{}", format::millis(ms))}</small> })}
        </li>
    }
}

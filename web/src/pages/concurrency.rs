//! The concurrency lab: starts a run on the server and shows what its threads do.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GetUntracked, IntoView, Memo, OnAttribute,
    RwSignal, Set, Signal, With, component, view,
};
use shared::wire::lab::{LabConfig, LabRunOut};

use crate::address;
use crate::components::changing::{click, effect, memo, part, text};
use crate::components::commands::Curl;
use crate::components::lab_lanes::{LabLanes, LabLog, RaceTable};
use crate::model::lab::LabView;
use crate::pages::calls::Calls;
use crate::rest;
use crate::session::Session;

/// The lab.
#[component]
pub fn Concurrency(
    /// The page's shared state.
    session: Session,
) -> impl IntoView {
    let lab = memo(move || session.model.with(|model| model.lab().clone()));
    let calls = Calls::new();
    let running = memo(move || lab.with(|lab| lab.run.is_some() && !lab.finished));
    let off = memo(move || running.get() || session.stale.get());
    let run = move |_| {
        if running.get_untracked() || !session.may_act() {
            return;
        }
        calls.run(async move {
            let result = rest::start_lab(&session.user.get_untracked(), &LabConfig::default()).await;
            session.report(result, "The lab runs.".to_owned());
        });
    };
    let result = result_of(session, lab, calls);
    let race = memo(move || lab.with(|lab| lab.race.clone()));
    let words = text(move || if running.get() { "Runs…" } else { "Run" });
    let command = Signal::derive(|| {
        let api = address::api();
        vec![
            format!("curl -H 'Content-Type: application/json' -d '{{}}' {api}/lab/runs"),
            "grapevine concurrency".to_owned(),
        ]
    });
    view! {
        <section class="card lab-section" aria-labelledby="lab-title">
            <div class="title">
                <h2 id="lab-title">"Concurrency lab"</h2>
                <button
                    type="button"
                    class="primary"
                    data-testid="lab-run"
                    aria-disabled=text(move || off.get().to_string())
                    on:click=click(run)
                >
                    {words}
                </button>
                <Curl lines=command />
            </div>
            <p class="muted">{text(move || lab.with(summary))}</p>
            <LabLanes lab=lab.into() />
            <LabLog lab=lab.into() />
            <RaceTable race=race.into() />
            {part(move || result.get().map(|run| view! { <p class="muted">{outcome(&run)}</p> }))}
        </section>
    }
}

/// The run's report, fetched when it is over.
fn result_of(session: Session, lab: Memo<LabView>, calls: Calls) -> RwSignal<Option<LabRunOut>> {
    let result = RwSignal::new(None);
    let finished = memo(move || lab.with(|lab| lab.run.clone().filter(|_| lab.finished)));
    effect(move || {
        result.set(None);
        let Some(id) = finished.get() else { return };
        calls.run(async move {
            let found = rest::lab_run(&session.user.get_untracked(), &id).await;
            if finished.get_untracked().as_ref() == Some(&id) {
                result.set(found.ok()); // a run that the server has forgotten needs no report
            }
        });
    });
    result
}

fn summary(lab: &LabView) -> String {
    match (&lab.run, lab.finished) {
        (None, _) => "Real threads: producers share permits and a bounded queue, consumers share a log under a lock, \
                      and a race shows how updates get lost."
            .to_owned(),
        (Some(_), false) => format!("{} permits held, {} packets in the queue.", lab.permits_held(), lab.depth),
        (Some(_), true) => "The run is over.".to_owned(),
    }
}

fn outcome(run: &LabRunOut) -> String {
    format!(
        "{} lines in the shared log. Semaphore of {}: at most {} of {} producers were at work at once.",
        run.shared_log.len(),
        run.config.permits,
        run.max_active_producers,
        run.config.producers
    )
}

//! The event log: the last entries of the stream as sentences; it can be stopped to be read.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CollectView, ElementChild, Get, GetUntracked, IntoView, OnAttribute, PropAttribute,
    RwSignal, Set, With, component, event_target_value, view,
};
use shared::ids::{FileId, PeerId};
use shared::wire::event::{Entry, Names};

use crate::components::changing::{click, memo, part, text};
use crate::components::event_log::{EventLine, EventLog};
use crate::format;
use crate::model::Model;
use crate::session::{self, Session};

/// What the log can be narrowed to.
const TOPICS: [&str; 7] = ["file", "gossip", "peer", "link", "broker", "condition", "lab"];

/// The log as it was when somebody stopped it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frozen {
    last_seq: u64,
    lines: Vec<EventLine>,
}

/// The event log.
#[component]
pub fn Events(
    /// The page's shared state.
    session: Session,
) -> impl IntoView {
    let frozen = RwSignal::new(None::<Frozen>);
    let topic = RwSignal::new(String::new());
    let live = memo(move || lines(session));
    let shown = memo(move || {
        let mut lines = frozen.with(|frozen| frozen.as_ref().map(|frozen| frozen.lines.clone()));
        let wanted = topic.get();
        let lines = lines.get_or_insert_with(|| live.get());
        lines.retain(|line| wanted.is_empty() || line.topic == wanted);
        std::mem::take(lines)
    });
    let seq = memo(move || session.model.with(|model| model.overview().map_or(0, |overview| overview.seq)));
    let waiting = move || frozen.with(|frozen| frozen.as_ref().map(|frozen| seq.get().saturating_sub(frozen.last_seq)));
    let toggle = move |_| {
        let now = frozen.with(Option::is_none);
        frozen.set(now.then(|| Frozen { last_seq: seq.get_untracked(), lines: live.get_untracked() }));
    };
    let words = move || match waiting() {
        None => "Freeze".to_owned(),
        Some(0) => "Go on".to_owned(),
        Some(count) => format!("Go on ({count} waiting)"),
    };
    let missed = part(move || {
        let missed = session.model.with(Model::missed);
        (missed > 0).then(|| {
            let words =
                "came faster than they could be sent to this page. They aren't listed; what they changed is shown.";
            view! { <p class="muted">{format!("{} {words}", format::counted(missed, "event"))}</p> }
        })
    });
    view! {
        <section class="card events-section" aria-labelledby="events-title">
            <div class="title">
                <h2 id="events-title">"Events"</h2>
                <label>
                    <span class="hidden">"Show"</span>
                    <select prop:value=move || topic.get() on:change=move |event| topic.set(event_target_value(&event))>
                        <option value="">"all topics"</option>
                        {TOPICS.map(|topic| view! { <option value=topic>{topic}</option> }).collect_view()}
                    </select>
                </label>
                <button
                    type="button"
                    aria-pressed=text(move || frozen.with(Option::is_some).to_string())
                    on:click=click(toggle)
                >
                    {text(words)}
                </button>
            </div>
            {missed}
            <EventLog lines=shown.into() />
        </section>
    }
}

/// The entries as lines, newest first.
fn lines(session: Session) -> Vec<EventLine> {
    let ahead_min = session::ahead_min();
    session.names.with(|known| {
        session.model.with(|model| {
            let peer = |peer: &PeerId| model.peer_label(peer);
            let file =
                |file: &FileId| known.get(&file.to_string()).cloned().unwrap_or_else(|| format::short_file(file));
            let names = Names { peer: &peer, file: &file };
            let entries = model.overview().into_iter().flat_map(|overview| overview.log.iter().rev());
            let line = |entry: &Entry| EventLine {
                seq: entry.seq,
                time: format::clock(entry.at_ms, ahead_min),
                topic: entry.event.topic(),
                text: entry.event.sentence(&names),
            };
            entries.map(line).collect()
        })
    })
}

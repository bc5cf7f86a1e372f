//! The top of the page: name, states, user; and below it what the user must know now.

use leptos::callback::Callback;
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GetUntracked, GetValue, GlobalAttributes,
    IntoView, OnAttribute, SetValue, StoredValue, With, component, view,
};
use shared::wire::condition::{Condition, Standing};
use shared::wire::overview::Overview;

use crate::components::badge::{ConnectionBadge, PartBadge};
use crate::components::changing::{click, effect, memo, part, text};
use crate::components::conditions::{Conditions, Fault};
use crate::components::focus;
use crate::components::user_switch::UserSwitch;
use crate::format;
use crate::model::connection::Connection;
use crate::model::{Model, outbox};
use crate::session::{self, Session, user_named};

/// The header.
#[component]
pub fn Header(
    /// The page's shared state.
    session: Session,
) -> impl IntoView {
    let waiting = memo(move || session.model.with(|model| outbox::waiting(model.outbox()?, model.overview()?)));
    let set_aside = memo(move || session.model.with(set_aside));
    let broker = memo(move || session.model.with(|model| model.overview().map(|o| o.broker.clone())));
    let bridge = memo(move || session.model.with(|model| model.overview().and_then(|o| o.bridge.clone())));
    let running = memo(move || session.model.with(|model| model.overview().map(Overview::running)));
    let peers = move || {
        let was = if session.stale.get() { "were " } else { "" };
        running.get().map(|count| format!("{} {was}up", format::counted(count.into(), "peer")))
    };
    let age = move || {
        session.age_s.get().map(|age_s| match age_s {
            0 => "heard just now".to_owned(),
            age_s => format!("heard {} ago", format::seconds(age_s)),
        })
    };
    let switch = Callback::new(move |text: String| {
        if let Some(user) = user_named(&text) {
            session.switch_user(user);
        } else {
            session.say("A user's name is 1 to 128 plain characters.".to_owned());
        }
    });
    let odd =
        move |words: Option<String>| words.map(|words| view! { <span class="badge" data-tone="warn">{words}</span> });
    view! {
        <header class="top">
            <h1>
                <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
                    <path d="M16 11 10 18M16 11l6 7M10 18l6 7M22 18l-6 7" />
                    <circle cx="16" cy="10" r="4.5" />
                    <circle cx="9.5" cy="17.5" r="4.5" />
                    <circle cx="22.5" cy="17.5" r="4.5" />
                    <circle cx="16" cy="25" r="4.5" />
                </svg>
                "Grapevine"
            </h1>
            <div class="badges">
                <ConnectionBadge connection=session.connection.into() />
                <PartBadge name="Broker" state=broker.into() old=session.stale.into() />
                <PartBadge name="Bridge" state=bridge.into() old=session.stale.into() />
                {part(move || peers().map(|words| view! { <span class="badge" data-tone="idle">{words}</span> }))}
                {part(move || odd(waiting.get()))}
                {part(move || odd(set_aside.get()))}
                <small class="muted age" data-testid="age">{text(move || age().unwrap_or_default())}</small>
            </div>
            <UserSwitch user=session.user.into() on_switch=switch />
        </header>
        <Stale session=session />
        <Conditions faults=memo(move || session.model.with(faults)).into() />
        <div class="notice" aria-live="polite">
            {part(move || session.notice.get().map(|notice| {
                view! { <p class:error=notice.is_error data-testid="notice">{notice.text}</p> }
            }))}
        </div>
    }
}

/// Says that what is shown may be out of date, and how old it is.
#[component]
fn Stale(session: Session) -> impl IntoView {
    let waits = memo(move || matches!(session.connection.get(), Connection::Waiting { .. }));
    let words = move || match (session.heard_ms(), session.age_s.get()) {
        (Some(heard_ms), Some(age_s)) => {
            let (clock, ago) = (format::clock(heard_ms, session::ahead_min()), format::seconds(age_s));
            format!(
                "The server isn't heard. What you see is what it last told, at {}, {ago} ago.",
                whole_seconds(&clock)
            )
        }
        _ => "The server isn't heard.".to_owned(),
    };
    let hurried = StoredValue::new(false);
    // The button goes when the server is back.
    effect(move || {
        if !session.stale.get() && hurried.get_value() {
            hurried.set_value(false);
            focus::when_lost(|| focus::named("content"));
        }
    });
    let hurry = move |_| {
        if waits.get_untracked() {
            session.hurry();
            hurried.set_value(true);
        }
    };
    part(move || {
        session.stale.get().then(|| {
            view! {
                <div class="stale" role="region" aria-label="Not connected" data-testid="stale">
                    <p>{text(words)}</p>
                    <button
                        type="button"
                        id="try-now"
                        aria-disabled=text(move || (!waits.get()).to_string())
                        on:click=click(hurry)
                    >
                        "Try now"
                    </button>
                </div>
            }
        })
    })
}

/// A time of day without its milliseconds.
fn whole_seconds(clock: &str) -> &str {
    clock.split_once('.').map_or(clock, |(seconds, _milliseconds)| seconds)
}

fn set_aside(model: &Model) -> Option<String> {
    let count = model.outbox()?.set_aside;
    (count > 0).then(|| format!("{count} set aside"))
}

/// The faults that last, by name.
fn faults(model: &Model) -> Vec<Fault> {
    let standing = model.overview().into_iter().flat_map(|overview| &overview.conditions);
    let fault = |(condition, standing): (&Condition, &Standing)| Fault {
        condition: *condition,
        detail: standing.detail.clone(),
        since: whole_seconds(&format::clock(standing.since_ms, session::ahead_min())).to_owned(),
    };
    standing.map(fault).collect()
}

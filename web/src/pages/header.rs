//! The top of the page: name, states, user; and below it what the user must know now.

use std::time::Duration;

use leptos::callback::Callback;
use leptos::leptos_dom::helpers::set_interval_with_handle;
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, Effect, ElementChild, Get, GetUntracked, IntoView, Memo,
    OnAttribute, RwSignal, Set, Track, With, component, on_cleanup, view,
};
use shared::wire::overview::Overview;
use shared::wire::rest::ReadyOut;

use crate::components::badge::{ConnectionBadge, PartBadge};
use crate::components::user_switch::UserSwitch;
use crate::format;
use crate::model::connection::Connection;
use crate::pages::calls::Calls;
use crate::rest;
use crate::session::{Session, user_named};

/// How often the server is asked what waits in its outbox; the event stream doesn't tell.
const READY_EVERY: Duration = Duration::from_secs(5);

/// The header.
#[component]
pub fn Header(
    /// The page's shared state.
    session: Session,
) -> impl IntoView {
    let ready = waiting(session);
    let broker = Memo::new(move |_| session.model.with(|model| model.overview().map(|o| o.broker.clone())));
    let bridge = Memo::new(move |_| session.model.with(|model| model.overview().and_then(|o| o.bridge.clone())));
    let running = Memo::new(move |_| session.model.with(|model| model.overview().map(Overview::running)));
    let peers = move || running.get().map(|count| format!("{} up", format::counted(count.into(), "peer")));
    let switch = Callback::new(move |text: String| {
        if let Some(user) = user_named(&text) {
            session.switch_user(user);
        } else {
            session.say("A user's name is 1 to 128 plain characters.".to_owned());
        }
    });
    let odd = move |count: u64, words: &'static str| {
        (count > 0).then(|| view! { <span class="badge" data-tone="warn">{format!("{count} {words}")}</span> })
    };
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
                <PartBadge name="Broker" state=broker.into() />
                <PartBadge name="Bridge" state=bridge.into() />
                {move || peers().map(|words| view! { <span class="badge" data-tone="idle">{words}</span> })}
                {move || odd(ready.get().map_or(0, |ready| ready.outbox), "waiting for the broker")}
                {move || odd(ready.get().and_then(|ready| ready.dead_letters).unwrap_or(0), "set aside")}
            </div>
            <UserSwitch user=session.user.into() on_switch=switch />
        </header>
        <Stale session=session />
        <div class="notice" aria-live="polite">
            {move || session.notice.get().map(|notice| {
                view! { <p class:error=notice.is_error data-testid="notice">{notice.text}</p> }
            })}
        </div>
    }
}

/// Says that what is shown may be out of date.
#[component]
fn Stale(session: Session) -> impl IntoView {
    let stale = Memo::new(move |_| session.connection.get().is_stale());
    let waits = Memo::new(move |_| matches!(session.connection.get(), Connection::Waiting { .. }));
    move || {
        stale.get().then(|| {
            view! {
                <div class="stale">
                    <p>"The server can't be reached. What you see is the last that it told."</p>
                    <button type="button" disabled=move || !waits.get() on:click=move |_| session.hurry()>
                        "Try now"
                    </button>
                </div>
            }
        })
    }
}

/// What `GET /ready` says, asked for while the page is connected.
fn waiting(session: Session) -> RwSignal<Option<ReadyOut>> {
    let ready = RwSignal::new(None);
    let calls = Calls::new();
    let ask = move || {
        if session.connection.get_untracked() == Connection::Connected {
            calls.run(async move {
                if let Ok(found) = rest::ready().await {
                    ready.set(Some(found));
                }
            });
        }
    };
    Effect::new(move |_| {
        session.connection.track();
        ask();
    });
    if let Ok(timer) = set_interval_with_handle(ask, READY_EVERY) {
        on_cleanup(move || timer.clear());
    }
    ready
}

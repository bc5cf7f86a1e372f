//! Small coloured words: the state of the connection, of a part of the server, of a peer.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoView, Signal, component,
    view,
};
use shared::wire::event::{PartState, PeerState};

use crate::components::changing::{part, text};
use crate::model::connection::Connection;

/// The state of the event stream, read out when it changes.
#[component]
pub fn ConnectionBadge(
    /// The state.
    connection: Signal<Connection>,
) -> impl IntoView {
    let tone = text(move || match connection.get() {
        Connection::Connected => "good",
        Connection::Connecting => "idle",
        Connection::Reconnecting | Connection::Waiting { .. } => "warn",
        Connection::Incompatible => "bad",
    });
    view! {
        <span class="badge" data-tone=tone data-testid="connection" role="status" aria-live="polite">
            {text(move || connection.get().words())}
        </span>
    }
}

/// The state of a part of the server; nothing where the server has no such part.
#[component]
pub fn PartBadge(
    /// The part's name.
    name: &'static str,
    /// Its state.
    state: Signal<Option<PartState>>,
    /// Whether that is the last that was heard and may no longer be so.
    old: Signal<bool>,
) -> impl IntoView {
    let shown = move |state: PartState| {
        let (tone, words, why) = match state {
            PartState::Up => ("good", "up", String::new()),
            PartState::Starting => ("idle", "starting", String::new()),
            PartState::Down { reason } => ("bad", "down", reason),
        };
        let was = text(move || if old.get() { " was " } else { " " });
        view! { <span class="badge" data-tone=tone title=why>{name} {was} {words}</span> }
    };
    part(move || state.get().map(shown))
}

/// A peer's state: a shape (the same as in the picture), a colour and a word.
#[component]
pub fn PeerBadge(
    /// The state.
    state: Signal<PeerState>,
) -> impl IntoView {
    let tone = text(move || match state.get() {
        PeerState::Up => "good",
        PeerState::StandsBy => "warn",
        PeerState::Left | PeerState::Unknown => "idle",
        PeerState::Killed => "bad",
        PeerState::Remote => "info",
    });
    let glyph = text(move || match state.get() {
        PeerState::Up => "●",
        PeerState::Left => "○",
        PeerState::Killed => "✕",
        PeerState::StandsBy => "◐",
        PeerState::Remote => "◆",
        PeerState::Unknown => "◇",
    });
    view! {
        <span class="badge" data-tone=tone>
            <span class="glyph" aria-hidden="true">{glyph}</span>
            {text(move || state_word(state.get()))}
        </span>
    }
}

/// A peer's state as a word; also the value of `data-state`.
pub fn state_word(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Left => "left",
        PeerState::Killed => "killed",
        PeerState::StandsBy => "stands by",
        PeerState::Remote => "remote",
        PeerState::Unknown => "unknown",
    }
}

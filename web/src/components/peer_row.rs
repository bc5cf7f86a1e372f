//! One peer of the list: the text form of a node in the picture, with what can be done with it.

use leptos::callback::{Callable, Callback};
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoAny, IntoView,
    OnAttribute, RwSignal, Signal, Update, component, view,
};
use shared::ids::PeerId;
use shared::wire::stream::PeerState;

use crate::components::badge::{PeerBadge, state_word};
use crate::components::commands::Commands;

/// What the list shows of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLine {
    /// Where it listens.
    pub addr: String,
    /// Its state.
    pub state: PeerState,
    /// How many files it knows; absent for peers that aren't ours.
    pub files: Option<u32>,
    /// How its neighbours are called.
    pub neighbours: String,
}

/// What can be done with a peer.
#[derive(Debug, Clone, Copy)]
pub struct PeerActions {
    /// Let it say goodbye and stop.
    pub leave: Callback<PeerId>,
    /// Stop it without goodbye.
    pub kill: Callback<PeerId>,
    /// Start it again.
    pub rejoin: Callback<PeerId>,
}

/// Two table rows: the peer, and below it the same actions as curl lines.
#[component]
pub fn PeerRow(
    /// The peer.
    peer: PeerId,
    /// What to show of it.
    line: Signal<PeerLine>,
    /// The server's address, for curl lines.
    origin: String,
    /// What can be done with it.
    actions: PeerActions,
) -> impl IntoView {
    let unfolded = RwSignal::new(false);
    let state = Signal::derive(move || line.get().state);
    let lines = Signal::derive(move || curl_lines(&origin, peer, state.get()));
    view! {
        <tr data-testid="peer-row" data-peer-id=peer.to_string() data-state=move || state_word(state.get())>
            <td class="wide">
                <strong>{move || line.get().addr}</strong>
                <small class="muted" title=peer.to_string()>{peer.short()}</small>
            </td>
            <td><PeerBadge state=state /></td>
            <td data-label="Files">
                {move || line.get().files.map_or_else(|| "–".to_owned(), |files| files.to_string())}
            </td>
            <td data-label="Linked with" class="neighbours">{move || line.get().neighbours}</td>
            <td class="actions">{buttons(peer, state, actions, unfolded)}</td>
        </tr>
        {move || {
            unfolded.get().then(|| view! { <tr class="panel"><td colspan="5"><Commands lines=lines /></td></tr> })
        }}
    }
}

fn buttons(peer: PeerId, state: Signal<PeerState>, actions: PeerActions, unfolded: RwSignal<bool>) -> impl IntoView {
    let button = move |what: &'static str, testid: &'static str, action: Callback<PeerId>| {
        view! {
            <button type="button" class="quiet" data-testid=testid on:click=move |_| action.run(peer)>{what}</button>
        }
    };
    let curl = move || {
        view! {
            <button
                type="button"
                class="quiet"
                aria-expanded=move || unfolded.get().to_string()
                on:click=move |_| unfolded.update(|unfolded| *unfolded = !*unfolded)
            >
                "curl"
            </button>
        }
    };
    move || match state.get() {
        PeerState::Up => {
            (button("Leave", "peer-leave", actions.leave), button("Kill", "peer-kill", actions.kill), curl()).into_any()
        }
        PeerState::Left | PeerState::Killed => (button("Rejoin", "peer-rejoin", actions.rejoin), curl()).into_any(),
        PeerState::Remote => view! { <small class="muted">"not run by this server"</small> }.into_any(),
    }
}

fn curl_lines(origin: &str, peer: PeerId, state: PeerState) -> Vec<String> {
    let act = |action: &str| {
        format!(
            "curl -H 'Content-Type: application/json' -d '{{\"action\":\"{action}\"}}' {origin}/peers/{peer}/actions"
        )
    };
    match state {
        PeerState::Up => vec![format!("curl -X DELETE {origin}/peers/{peer}"), act("kill")],
        PeerState::Left | PeerState::Killed => vec![act("rejoin")],
        PeerState::Remote => Vec::new(),
    }
}

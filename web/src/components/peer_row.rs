//! One peer of the list: the text form of a node in the picture, with what can be done with it.

use leptos::callback::{Callable, Callback};
use leptos::html::Td;
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, Effect, ElementChild, Get, GetUntracked, GetValue,
    GlobalAttributes, IntoAny, IntoView, Memo, NodeRef, NodeRefAttribute, OnAttribute, RwSignal, SetValue, Signal,
    StoredValue, Update, component, view,
};
use shared::ids::PeerId;
use shared::wire::event::PeerState;

use crate::components::badge::{PeerBadge, state_word};
use crate::components::changing::{click, memo, part, text};
use crate::components::commands::Commands;
use crate::components::focus;

/// What the list shows of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLine {
    /// Where it listens.
    pub addr: String,
    /// Its state.
    pub state: PeerState,
    /// How many files it knows; absent where it hasn't told.
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
    /// Whether nothing can be asked of the server now.
    pub off: Signal<bool>,
}

/// Two table rows: the peer, and below it the same actions as curl lines.
#[component]
pub fn PeerRow(
    /// The peer.
    peer: PeerId,
    /// What to show of it.
    line: Signal<PeerLine>,
    /// The API's address, for curl lines.
    api: String,
    /// What can be done with it.
    actions: PeerActions,
) -> impl IntoView {
    let unfolded = RwSignal::new(false);
    // Kept until it changes: else whatever the peer learns would put new buttons in the place of those with the focus.
    let state = memo(move || line.get().state);
    let lines = Signal::derive(move || curl_lines(&api, peer, state.get()));
    let cell = NodeRef::<Td>::new();
    let buttons = buttons(peer, state, actions, unfolded, pressed_in(cell, state));
    view! {
        <tr data-testid="peer-row" data-peer-id=peer.to_string() data-state=text(move || state_word(state.get()))>
            <td class="wide">
                <strong>{text(move || line.get().addr)}</strong>
                <small class="muted" title=peer.to_string()>{peer.short()}</small>
            </td>
            <td><PeerBadge state=state.into() /></td>
            <td data-label="Files">
                {text(move || line.get().files.map_or_else(|| "–".to_owned(), |files| files.to_string()))}
            </td>
            <td data-label="Linked with" class="neighbours">{text(move || line.get().neighbours)}</td>
            <td class="actions" node_ref=cell>{buttons}</td>
        </tr>
        {part(move || {
            unfolded.get().then(|| view! { <tr class="panel"><td colspan="5"><Commands lines=lines /></td></tr> })
        })}
    }
}

/// Notes that a button of the row was pressed: when the peer's state changes because of that, other buttons come in the
/// place of those in `cell`, and the first of them gets the focus.
fn pressed_in(cell: NodeRef<Td>, state: Memo<PeerState>) -> StoredValue<bool> {
    let pressed = StoredValue::new(false);
    Effect::new(move |before: Option<PeerState>| {
        let now = state.get();
        if before.is_some_and(|before| before != now) && pressed.get_value() {
            pressed.set_value(false);
            focus::when_lost(move || focus::first_in(cell.try_get_untracked()??.as_ref()));
        }
        now
    });
    pressed
}

fn buttons(
    peer: PeerId,
    state: Memo<PeerState>,
    actions: PeerActions,
    unfolded: RwSignal<bool>,
    pressed: StoredValue<bool>,
) -> impl IntoView {
    let button = move |what: &'static str, testid: &'static str, action: Callback<PeerId>| {
        let press = move |_| {
            pressed.set_value(true);
            action.run(peer);
        };
        view! {
            <button
                type="button"
                class="quiet"
                data-testid=testid
                aria-disabled=text(move || actions.off.get().to_string())
                on:click=click(press)
            >
                {what}
            </button>
        }
    };
    let curl = move || {
        view! {
            <button
                type="button"
                class="quiet"
                aria-expanded=text(move || unfolded.get().to_string())
                on:click=click(move |_| unfolded.update(|unfolded| *unfolded = !*unfolded))
            >
                "curl"
            </button>
        }
    };
    part(move || {
        Some(match state.get() {
            PeerState::Up | PeerState::StandsBy => {
                let (leave, kill) = (actions.leave, actions.kill);
                (button("Leave", "peer-leave", leave), button("Kill", "peer-kill", kill), curl()).into_any()
            }
            PeerState::Left | PeerState::Killed => (button("Rejoin", "peer-rejoin", actions.rejoin), curl()).into_any(),
            PeerState::Remote | PeerState::Unknown => {
                view! { <small class="muted">"not run by this server"</small> }.into_any()
            }
        })
    })
}

fn curl_lines(api: &str, peer: PeerId, state: PeerState) -> Vec<String> {
    let act = |action: &str| {
        format!("curl -H 'Content-Type: application/json' -d '{{\"action\":\"{action}\"}}' {api}/peers/{peer}/actions")
    };
    match state {
        PeerState::Up | PeerState::StandsBy => vec![format!("curl -X DELETE {api}/peers/{peer}"), act("kill")],
        PeerState::Left | PeerState::Killed => {
            vec![act("rejoin"), format!("curl -X DELETE '{api}/peers/{peer}?forget=true'")]
        }
        PeerState::Remote | PeerState::Unknown => Vec::new(),
    }
}

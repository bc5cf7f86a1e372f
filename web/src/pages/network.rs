//! The overlay: the picture, the same as a table, and what can be done with peers.

use leptos::callback::Callback;
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GetUntracked, IntoView, Memo, OnAttribute,
    Signal, With, component, view,
};
use shared::ids::PeerId;
use shared::wire::event::PeerState;
use shared::wire::peer_view::PeerView;
use shared::wire::rest::PeerAction;

use crate::address;
use crate::components::changing::{click, flag, memo, part, rows, text};
use crate::components::commands::Curl;
use crate::components::peer_graph::PeerGraph;
use crate::components::peer_row::{PeerActions, PeerLine, PeerRow};
use crate::model::Model;
use crate::pages::calls::Calls;
use crate::rest;
use crate::session::Session;
use crate::small_map::SmallMap;

/// The picture and the table of peers.
#[component]
pub fn Network(
    /// The page's shared state.
    session: Session,
) -> impl IntoView {
    let calls = Calls::new();
    let peers = memo(move || session.model.with(Model::peers_by_address));
    let actions = actions(session, calls);
    let start = move |_| {
        if !session.may_act() {
            return;
        }
        calls.run(async move {
            let result = rest::start_peer(&session.user.get_untracked()).await;
            let peer = result.as_ref().map(|peer| peer.addr.to_string()).unwrap_or_default();
            session.report(result, format!("Peer {peer} starts, until the server stops."));
        });
    };
    let command = Signal::derive(|| vec![format!("curl -X POST {}/peers", address::api())]);
    let none_runs = memo(move || session.model.with(Model::is_without_peers));
    let empty =
        part(move || none_runs.get().then(|| view! { <p class="muted">"This server runs no peers. Start one."</p> }));
    let row = move |peer| view! { <PeerRow peer=peer line=line(session, peer) api=address::api() actions=actions /> };
    view! {
        <section class="card" aria-labelledby="network-title">
            <div class="title">
                <h2 id="network-title">"Network"</h2>
                <button
                    type="button"
                    class="primary"
                    data-testid="peer-start"
                    aria-disabled=text(move || session.stale.get().to_string())
                    on:click=click(start)
                >
                    "Start a peer"
                </button>
                <Curl lines=command />
            </div>
            {empty}
            <PeerGraph model=session.model old=session.stale.into() />
            <p class="legend muted">
                <span data-tone="good">"● up"</span>
                <span data-tone="idle">"○ left"</span>
                <span data-tone="bad">"✕ killed"</span>
                <span data-tone="warn">"◐ stands by"</span>
                <span data-tone="info">"◆ remote"</span>
                <span data-tone="idle">"◇ unknown"</span>
                <span data-tone="accent">"● news on its way"</span>
                <span data-tone="idle">"• known already"</span>
                <span>"Messages are real, but shown half a second for each hop."</span>
            </p>
            <table class="peers" class:empty=flag(move || peers.get().is_empty())>
                <thead>
                    <tr>
                        <th scope="col">"Peer"</th>
                        <th scope="col">"State"</th>
                        <th scope="col">"Files"</th>
                        <th scope="col">"Linked with"</th>
                        <th scope="col"><span class="hidden">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody>
                    {rows(move || peers.get(), PeerId::to_string, row)}
                </tbody>
            </table>
        </section>
    }
}

fn actions(session: Session, calls: Calls) -> PeerActions {
    let name = move |peer: PeerId| session.model.with(|model| model.peer_label(&peer));
    let act = move |action: PeerAction, done: &'static str| {
        Callback::new(move |peer: PeerId| {
            if !session.may_act() {
                return;
            }
            let done = format!("Peer {} {done}", name(peer));
            calls.run(async move {
                session.report(rest::act_on_peer(&session.user.get_untracked(), peer, action).await, done);
            });
        })
    };
    PeerActions {
        off: session.stale.into(),
        leave: Callback::new(move |peer: PeerId| {
            if !session.may_act() {
                return;
            }
            let done = format!("Peer {} said goodbye.", name(peer));
            calls.run(async move {
                session.report(rest::leave_peer(&session.user.get_untracked(), peer).await, done);
            });
        }),
        kill: act(PeerAction::Kill, "was killed without goodbye."),
        rejoin: act(PeerAction::Rejoin, "starts again."),
    }
}

fn line(session: Session, peer: PeerId) -> Signal<PeerLine> {
    let line = Memo::new(move |before: Option<&PeerLine>| {
        let now = session.model.with(|model| Some(peer_line(model, model.overview()?.peers.get(&peer)?)));
        // A row outlives its peer by a moment: it keeps what it showed last.
        now.or_else(|| before.cloned()).unwrap_or_else(|| PeerLine {
            addr: String::new(),
            state: PeerState::Left,
            files: None,
            neighbours: String::new(),
        })
    });
    line.into()
}

fn peer_line(model: &Model, view: &PeerView) -> PeerLine {
    let mut neighbours = SmallMap::<String, ()>::new();
    for peer in &view.neighbours {
        neighbours.put(model.peer_label(peer), ());
    }
    let neighbours: Vec<&str> = neighbours.entries().iter().map(|(label, ())| label.as_str()).collect();
    PeerLine {
        addr: view.addr.to_string(),
        state: view.state,
        files: view.files,
        neighbours: if neighbours.is_empty() { "–".to_owned() } else { neighbours.join(", ") },
    }
}

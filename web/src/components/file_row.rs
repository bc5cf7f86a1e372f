//! One file of the list: what it is, how many peers have it, and what can be done with it.

use leptos::callback::{Callable, Callback, UnsyncCallback};
use leptos::html::Input;
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoAny, IntoView, NodeRef,
    NodeRefAttribute, OnAttribute, PropAttribute, RwSignal, Set, Signal, StyleAttribute, Update, component,
    event_target_value, view,
};
use shared::ids::UserId;
use shared::wire::rest::FileOut;
use web_sys::File;

use crate::components::commands::Commands;
use crate::components::upload::collect;
use crate::format;
use crate::model::way::Way;

/// What can be done with a file.
#[derive(Debug, Clone, Copy)]
pub struct FileActions {
    /// Save it.
    pub download: Callback<FileOut>,
    /// Put another content in its place.
    pub replace: UnsyncCallback<(FileOut, File)>,
    /// Let the user of that name see it.
    pub share: Callback<(FileOut, String)>,
    /// Delete it.
    pub delete: Callback<FileOut>,
}

/// What is unfolded below a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Panel {
    Share,
    Delete,
    Curl,
}

/// Two table rows: the file, and below it what is being done with it.
#[component]
pub fn FileRow(
    /// The file.
    file: Signal<FileOut>,
    /// Who looks at it.
    user: Signal<UserId>,
    /// How far its latest version has come; `None` where the stream doesn't tell.
    way: Signal<Option<Way>>,
    /// The server's address, for curl lines.
    origin: String,
    /// What can be done with it.
    actions: FileActions,
) -> impl IntoView {
    let panel = RwSignal::new(None);
    let id = file.get().id;
    let mine = Signal::derive(move || file.get().owner_id == user.get().as_str());
    let unfolded = move || match panel.get()? {
        Panel::Share => Some(share_panel(file, panel, actions.share).into_any()),
        Panel::Delete => Some(delete_panel(file, panel, actions.delete).into_any()),
        Panel::Curl => {
            let origin = origin.clone();
            let lines = Signal::derive(move || curl_lines(&origin, &user.get(), &file.get(), mine.get()));
            Some(view! { <Commands lines=lines /> }.into_any())
        }
    };
    view! {
        <tr data-testid="file-row" data-file-id=id>
            <td class="wide">
                <strong class="name">{move || file.get().filename}</strong>
                <small class="muted">{move || owner_words(&file.get(), mine.get())}</small>
            </td>
            <td data-label="Version">{move || format!("v{}", file.get().version)}</td>
            <td data-label="Size">{move || format::bytes(file.get().size_bytes)}</td>
            <td data-label="Reach"><Reach file=file way=way /></td>
            <td class="actions"><Buttons file=file mine=mine panel=panel actions=actions /></td>
        </tr>
        {move || unfolded().map(|content| view! { <tr class="panel"><td colspan="5">{content}</td></tr> })}
    }
}

/// How many peers have the file: a bar and words.
#[component]
fn Reach(file: Signal<FileOut>, way: Signal<Option<Way>>) -> impl IntoView {
    let counts = move || match way.get() {
        Some(way) => Some((way.reached, Some(way.running))),
        None => file.get().peers_reached.map(|reached| (reached, None)),
    };
    let words = move || match counts() {
        Some((reached, Some(running))) => format!("{reached} of {running} peers"),
        Some((reached, None)) => format::counted(reached.into(), "peer"),
        None => "not counted".to_owned(),
    };
    let share = move || match counts() {
        Some((reached, Some(running))) if running > 0 => format::percent(reached.into(), running.into()),
        _ => 0,
    };
    view! {
        <div class="bar reach" class:full=move || share() == 100 aria-hidden="true">
            <div style:width=move || format!("{}%", share())></div>
        </div>
        <small data-testid="file-reach">{words}</small>
    }
}

#[component]
fn Buttons(
    file: Signal<FileOut>,
    mine: Signal<bool>,
    panel: RwSignal<Option<Panel>>,
    actions: FileActions,
) -> impl IntoView {
    let toggle = move |wanted: Panel| {
        move |_| panel.update(|panel| *panel = if *panel == Some(wanted) { None } else { Some(wanted) })
    };
    let open = move |wanted: Panel| move || (panel.get() == Some(wanted)).to_string();
    let input = NodeRef::<Input>::new();
    let chosen = move |_| {
        let Some(input) = input.get() else { return };
        let replacement = input.files().and_then(|list| collect(&list).into_iter().next());
        input.set_value("");
        if let Some(replacement) = replacement {
            actions.replace.run((file.get(), replacement));
        }
    };
    let called = move |what: &str| format!("{what} {}", file.get().filename);
    let own = move || {
        mine.get().then(|| {
            view! {
                <label class="button quiet">
                    "Replace"
                    <input
                        type="file"
                        class="hidden"
                        aria-label=move || called("Replace")
                        node_ref=input
                        on:change=chosen
                    />
                </label>
                <button type="button" class="quiet" aria-expanded=open(Panel::Share) on:click=toggle(Panel::Share)>
                    "Share"
                </button>
                <button type="button" class="quiet" aria-expanded=open(Panel::Delete) on:click=toggle(Panel::Delete)>
                    "Delete"
                </button>
            }
        })
    };
    view! {
        <button
            type="button"
            class="quiet"
            aria-label=move || called("Download")
            on:click=move |_| actions.download.run(file.get())
        >
            "Download"
        </button>
        {own}
        <button type="button" class="quiet" aria-expanded=open(Panel::Curl) on:click=toggle(Panel::Curl)>
            "curl"
        </button>
    }
}

fn share_panel(
    file: Signal<FileOut>,
    panel: RwSignal<Option<Panel>>,
    share: Callback<(FileOut, String)>,
) -> impl IntoView {
    let target = RwSignal::new(String::new());
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        share.run((file.get(), target.get()));
        panel.set(None);
    };
    view! {
        <form class="inline" on:submit=submit>
            <label>
                "Share with "
                <input
                    type="text"
                    required
                    maxlength="128"
                    autocapitalize="none"
                    spellcheck="false"
                    placeholder="bob"
                    autofocus
                    prop:value=move || target.get()
                    on:input=move |event| target.set(event_target_value(&event))
                />
            </label>
            <button type="submit">"Share"</button>
            <button type="button" class="quiet" on:click=move |_| panel.set(None)>"Cancel"</button>
        </form>
    }
}

fn delete_panel(file: Signal<FileOut>, panel: RwSignal<Option<Panel>>, delete: Callback<FileOut>) -> impl IntoView {
    let confirm = move |_| {
        panel.set(None);
        delete.run(file.get());
    };
    view! {
        <div class="inline" role="group" aria-label="Confirm">
            <span>{move || format!("Delete {} for everyone, on every peer?", file.get().filename)}</span>
            <button type="button" class="danger" data-testid="file-delete-confirm" on:click=confirm>"Delete"</button>
            <button type="button" class="quiet" on:click=move |_| panel.set(None)>"Keep"</button>
        </div>
    }
}

fn owner_words(file: &FileOut, mine: bool) -> String {
    if mine { "yours".to_owned() } else { format!("shared by {}", file.owner_id) }
}

fn curl_lines(origin: &str, user: &UserId, file: &FileOut, mine: bool) -> Vec<String> {
    let who = format::quoted(&format!("X-User-Id: {user}"));
    let (id, version) = (&file.id, file.version);
    let mut lines = vec![format!("curl -H {who} -o {} {origin}/files/{id}", format::quoted(&file.filename))];
    if mine {
        let edition = format!("-H 'If-Match: \"{version}\"'");
        lines.push(format!("curl -X PUT -H {who} {edition} -F uploaded=@FILE {origin}/files/{id}"));
        lines.push(format!(
            "curl -H {who} -H 'Content-Type: application/json' -d '{{\"target_user_id\":\"bob\"}}' {origin}/shares/{id}"
        ));
        lines.push(format!("curl -X DELETE -H {who} {edition} {origin}/files/{id}"));
    }
    lines
}

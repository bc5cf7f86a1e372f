//! One file of the list: what it is, how many peers have it, and what can be done with it.

use leptos::callback::{Callable, Callback, UnsyncCallback};
use leptos::html::{Button, Input};
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GetUntracked, GlobalAttributes, IntoAny,
    IntoView, Memo, NodeRef, NodeRefAttribute, OnAttribute, PropAttribute, RwSignal, Set, Signal, StyleAttribute,
    component, event_target_value, view,
};
use shared::ids::UserId;
use shared::wire::file_view::Reach;
use shared::wire::rest::FileOut;
use web_sys::File;

use crate::components::changing::{click, flag, memo, part, text};
use crate::components::commands::Commands;
use crate::components::focus;
use crate::components::upload::collect;
use crate::format;
use crate::model::way::reach_words;

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
    /// Whether nothing can be asked of the server now.
    pub off: Signal<bool>,
}

/// What is unfolded below a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Panel {
    Share,
    Delete,
    Curl,
}

/// The buttons that unfold a panel: they get the focus back when it is folded.
#[derive(Debug, Clone, Copy)]
struct Toggles {
    share: NodeRef<Button>,
    delete: NodeRef<Button>,
}

/// Two table rows: the file, and below it what is being done with it.
#[component]
pub fn FileRow(
    /// The file.
    file: Signal<FileOut>,
    /// Who looks at it.
    user: Signal<UserId>,
    /// Where its latest version is; `None` where the stream doesn't tell.
    reach: Signal<Option<Reach>>,
    /// The API's address, for curl lines.
    api: String,
    /// What can be done with it.
    actions: FileActions,
) -> impl IntoView {
    let panel = RwSignal::new(None);
    let id = file.get().id;
    // Kept until it changes: else each change of the file would put new buttons in the place of those that have the focus.
    let mine = memo(move || file.get().owner_id == user.get().as_str());
    let toggles = Toggles { share: NodeRef::new(), delete: NodeRef::new() };
    let unfolded = move || match panel.get()? {
        Panel::Share => Some(share_panel(file, panel, toggles, actions).into_any()),
        Panel::Delete => Some(delete_panel(file, panel, toggles, actions).into_any()),
        Panel::Curl => {
            let api = api.clone();
            let lines = Signal::derive(move || curl_lines(&api, &user.get(), &file.get(), mine.get()));
            Some(view! { <Commands lines=lines /> }.into_any())
        }
    };
    view! {
        <tr data-testid="file-row" data-file-id=id>
            <td class="wide">
                <strong class="name">{text(move || file.get().filename)}</strong>
                <small class="muted">{text(move || owner_words(&file.get(), mine.get()))}</small>
            </td>
            <td data-label="Version">{text(move || format!("v{}", file.get().version))}</td>
            <td data-label="Size">{text(move || format::bytes(file.get().size_bytes))}</td>
            <td data-label="Reach"><ReachBar file=file reach=reach /></td>
            <td class="actions"><Buttons file=file mine=mine panel=panel toggles=toggles actions=actions /></td>
        </tr>
        {part(move || unfolded().map(|content| view! { <tr class="panel"><td colspan="5">{content}</td></tr> }))}
    }
}

/// Where the file is: a bar and words. No bar where that isn't known.
#[component]
fn ReachBar(file: Signal<FileOut>, reach: Signal<Option<Reach>>) -> impl IntoView {
    let words = text(move || match reach.get() {
        Some(reach) => reach_words(&reach),
        None => match file.get().peers_reached {
            Some(reached) => format!("{} when last asked", format::counted(reached.into(), "peer")),
            None => "not known".to_owned(),
        },
    });
    let bar = part(move || {
        let reach = reach.get().filter(|reach| reach.members() > 0)?;
        let share = format::percent(reach.have.into(), reach.members().into());
        Some(view! {
            <div class="bar reach" class:full=reach.is_whole() aria-hidden="true">
                <div style:width=format!("{share}%")></div>
            </div>
        })
    });
    view! {
        {bar}
        <small data-testid="file-reach">{words}</small>
    }
}

#[component]
fn Buttons(
    file: Signal<FileOut>,
    mine: Memo<bool>,
    panel: RwSignal<Option<Panel>>,
    toggles: Toggles,
    actions: FileActions,
) -> impl IntoView {
    let own = part(move || mine.get().then(|| own_buttons(file, panel, toggles, actions)));
    view! {
        <button
            type="button"
            class="quiet"
            aria-label=text(move || called("Download", file))
            aria-disabled=text(move || actions.off.get().to_string())
            on:click=click(move |_| actions.download.run(file.get()))
        >
            "Download"
        </button>
        {own}
        {toggle_button((panel, Panel::Curl), "curl", NodeRef::new(), Signal::stored(false))}
    }
}

/// What only the owner can do.
fn own_buttons(
    file: Signal<FileOut>,
    panel: RwSignal<Option<Panel>>,
    toggles: Toggles,
    actions: FileActions,
) -> impl IntoView {
    let input = NodeRef::<Input>::new();
    let chosen = move |_| {
        let Some(input) = input.get_untracked() else { return };
        let replacement = input.files().and_then(|list| collect(&list).into_iter().next());
        input.set_value("");
        if let Some(replacement) = replacement {
            actions.replace.run((file.get_untracked(), replacement));
        }
    };
    view! {
        <label class="button quiet" aria-disabled=text(move || actions.off.get().to_string())>
            "Replace"
            <input
                type="file"
                class="hidden"
                data-testid="file-replace"
                aria-label=text(move || called("Replace", file))
                disabled=flag(move || actions.off.get())
                node_ref=input
                on:change=chosen
            />
        </label>
        {toggle_button((panel, Panel::Share), "Share", toggles.share, actions.off)}
        {toggle_button((panel, Panel::Delete), "Delete", toggles.delete, actions.off)}
    }
}

fn toggle_button(
    (panel, wanted): (RwSignal<Option<Panel>>, Panel),
    what: &'static str,
    button: NodeRef<Button>,
    off: Signal<bool>,
) -> impl IntoView {
    let is_open = move || panel.get() == Some(wanted);
    let toggle = move |_| {
        let open = panel.get_untracked() == Some(wanted);
        if open || !off.get_untracked() {
            panel.set((!open).then_some(wanted));
        }
    };
    view! {
        <button
            type="button"
            class="quiet"
            aria-expanded=text(move || is_open().to_string())
            aria-disabled=text(move || off.get().to_string())
            node_ref=button
            on:click=click(toggle)
        >
            {what}
        </button>
    }
}

fn called(what: &str, file: Signal<FileOut>) -> String {
    format!("{what} {}", file.get().filename)
}

fn share_panel(
    file: Signal<FileOut>,
    panel: RwSignal<Option<Panel>>,
    toggles: Toggles,
    actions: FileActions,
) -> impl IntoView {
    let target = RwSignal::new(String::new());
    let field = NodeRef::<Input>::new();
    field.on_load(|field| focus::focus(&field));
    let fold = move || {
        panel.set(None);
        focus::when_lost(move || toggles.share.try_get_untracked().flatten().map(Into::into));
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        actions.share.run((file.get_untracked(), target.get_untracked()));
        fold();
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
                    data-testid="share-with"
                    node_ref=field
                    prop:value=move || target.get()
                    on:input=move |event| target.set(event_target_value(&event))
                />
            </label>
            <button type="submit" aria-disabled=text(move || actions.off.get().to_string())>"Share"</button>
            <button type="button" class="quiet" on:click=click(move |_| fold())>"Cancel"</button>
        </form>
    }
}

fn delete_panel(
    file: Signal<FileOut>,
    panel: RwSignal<Option<Panel>>,
    toggles: Toggles,
    actions: FileActions,
) -> impl IntoView {
    let keep = NodeRef::<Button>::new();
    keep.on_load(|keep| focus::focus(&keep));
    let fold = move || {
        panel.set(None);
        focus::when_lost(move || toggles.delete.try_get_untracked().flatten().map(Into::into));
    };
    let confirm = move |_| {
        actions.delete.run(file.get_untracked());
        fold();
    };
    view! {
        <div class="inline" role="group" aria-label="Confirm">
            <span>{text(move || format!("Delete {} for everyone, on every peer?", file.get().filename))}</span>
            <button
                type="button"
                class="danger"
                data-testid="file-delete-confirm"
                aria-disabled=text(move || actions.off.get().to_string())
                on:click=click(confirm)
            >
                "Delete"
            </button>
            <button type="button" class="quiet" node_ref=keep on:click=click(move |_| fold())>"Keep"</button>
        </div>
    }
}

fn owner_words(file: &FileOut, mine: bool) -> String {
    if mine { "yours".to_owned() } else { format!("shared by {}", file.owner_id) }
}

fn curl_lines(api: &str, user: &UserId, file: &FileOut, mine: bool) -> Vec<String> {
    let who = format::quoted(&format!("X-User-Id: {user}"));
    let (id, version) = (&file.id, file.version);
    let mut lines = vec![format!("curl -H {who} -o {} {api}/files/{id}", format::quoted(&file.filename))];
    if mine {
        let edition = format!("-H 'If-Match: \"{version}\"'");
        lines.push(format!("curl -X PUT -H {who} {edition} -F uploaded=@FILE {api}/files/{id}"));
        lines.push(format!(
            "curl -H {who} -H 'Content-Type: application/json' -d '{{\"target_user_id\":\"bob\"}}' {api}/shares/{id}"
        ));
        lines.push(format!("curl -X DELETE -H {who} {edition} {api}/files/{id}"));
    }
    lines
}

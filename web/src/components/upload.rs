//! Choosing files to upload, and how far each upload is.

use leptos::callback::{Callable, Callback, UnsyncCallback};
use leptos::ev::{self, DragEvent};
use leptos::html::Input;
use leptos::leptos_dom::helpers::{WindowListenerHandle, window_event_listener};
use leptos::prelude::{
    ArcMemo, ArcRwSignal, AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes,
    IntoAny, IntoView, NodeRef, NodeRefAttribute, OnAttribute, RwSignal, Set, Signal, StyleAttribute, With, component,
    on_cleanup, view,
};
use web_sys::{DataTransfer, File, FileList};

use crate::components::changing::{click, flag, part, rows, text};
use crate::components::way_steps::WaySteps;
use crate::format;
use crate::model::upload::{UploadPhase, left_s};
use crate::model::way::Way;

/// One upload as the page shows it.
#[derive(Debug, Clone)]
pub struct UploadItem {
    /// Its number on this page.
    pub id: u32,
    /// The file's name, with what is done to it.
    pub title: String,
    /// The file's size in bytes.
    pub size: u64,
    /// How far it is.
    pub phase: ArcRwSignal<UploadPhase>,
    /// How far the stored version has come.
    pub way: ArcMemo<Way>,
}

/// What can be done with an upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadActions {
    /// Stop it.
    pub cancel: Callback<u32>,
    /// Try once more what failed or was cancelled.
    pub retry: Callback<u32>,
    /// No longer show it.
    pub dismiss: Callback<u32>,
    /// Whether nothing can be asked of the server now.
    pub off: Signal<bool>,
}

/// A place to pick files from. The whole window takes files that are dropped: beside a box that alone did, the browser
/// would leave the page for the file, and end the uploads that run.
#[component]
pub fn UploadPicker(
    /// Files were chosen.
    on_files: UnsyncCallback<Vec<File>>,
    /// Whether nothing can be asked of the server now.
    off: Signal<bool>,
) -> impl IntoView {
    let input = NodeRef::<Input>::new();
    let over = RwSignal::new(false);
    let picked = move |_| {
        if let Some(input) = input.get() {
            let files = input.files().map(|list| collect(&list)).unwrap_or_default();
            input.set_value(""); // so that the same file can be chosen again
            on_files.run(files);
        }
    };
    let hovers = window_event_listener(ev::dragover, move |event: DragEvent| {
        if event.data_transfer().is_some_and(|data| has_files(&data)) {
            event.prevent_default();
            over.set(true);
        }
    });
    let leaves = window_event_listener(ev::dragleave, move |event: DragEvent| {
        // From one element to another isn't out of the window.
        if event.related_target().is_none() {
            over.set(false);
        }
    });
    let dropped = window_event_listener(ev::drop, move |event: DragEvent| {
        let Some(data) = event.data_transfer().filter(has_files) else { return };
        event.prevent_default();
        over.set(false);
        on_files.run(data.files().map(|list| collect(&list)).unwrap_or_default());
    });
    on_cleanup(move || [hovers, leaves, dropped].into_iter().for_each(WindowListenerHandle::remove));
    view! {
        <div class="drop" class:over=flag(move || over.get())>
            <label for="upload-input">"Drop files anywhere, or choose them:"</label>
            <input
                id="upload-input"
                data-testid="upload-input"
                type="file"
                multiple
                disabled=flag(move || off.get())
                node_ref=input
                on:change=picked
            />
        </div>
    }
}

fn has_files(data: &DataTransfer) -> bool {
    data.types().includes(&"Files".into(), 0)
}

/// The uploads of this page, newest first.
#[component]
pub fn UploadList(
    /// The uploads.
    uploads: Signal<Vec<UploadItem>>,
    /// What can be done with them.
    actions: UploadActions,
) -> impl IntoView {
    let row = move |item| view! { <UploadRow item=item actions=actions /> };
    view! {
        <ul class="uploads" aria-label="Uploads">
            {rows(move || uploads.get(), |item| item.id.to_string(), row)}
        </ul>
    }
}

#[component]
fn UploadRow(item: UploadItem, actions: UploadActions) -> impl IntoView {
    let UploadItem { id, title, size, phase, way } = item;
    let (shown, button, again) = (phase.clone(), phase.clone(), phase.clone());
    let percent = move || match phase.get() {
        UploadPhase::Waiting => Some(0),
        UploadPhase::Sending { sent, total, .. } => Some(format::percent(sent, total)),
        UploadPhase::Storing => Some(100),
        UploadPhase::Stored(_) | UploadPhase::Failed { .. } | UploadPhase::Cancelled { .. } => None,
    };
    let label = format!("Upload of {title}");
    let bar = part(move || {
        percent().map(|share| {
            view! {
                <div
                    class="bar"
                    role="progressbar"
                    aria-label=label.clone()
                    aria-valuemin="0"
                    aria-valuemax="100"
                    aria-valuenow=share.to_string()
                >
                    <div style:width=format!("{share}%")></div>
                </div>
            }
        })
    });
    let body = part(move || {
        Some(match shown.get() {
            UploadPhase::Stored(_) => view! { <WaySteps way=Signal::from(way.clone()) /> }.into_any(),
            phase => phase_words(&phase, size).into_any(),
        })
    });
    let over = move || button.with(UploadPhase::is_over);
    let press = {
        let over = over.clone();
        move |_| if over() { actions.dismiss.run(id) } else { actions.cancel.run(id) }
    };
    let retry = part(move || {
        let words = again.with(UploadPhase::retry_words)?;
        Some(view! {
            <button
                type="button"
                class="quiet"
                data-testid="upload-retry"
                aria-disabled=text(move || actions.off.get().to_string())
                on:click=click(move |_| actions.retry.run(id))
            >
                {words}
            </button>
        })
    });
    view! {
        <li data-testid="upload-item">
            <div class="line">
                <strong class="name">{title.clone()}</strong>
                <span class="muted">{format::bytes(size)}</span>
                <span class="actions">
                    {retry}
                    <button type="button" class="quiet" data-testid="upload-end" on:click=click(press)>
                        {text(move || if over() { "Dismiss" } else { "Cancel" })}
                    </button>
                </span>
            </div>
            {bar}
            <div data-testid="upload-progress">{body}</div>
        </li>
    }
}

fn phase_words(phase: &UploadPhase, size: u64) -> impl IntoView + use<> {
    let failed = matches!(phase, UploadPhase::Failed { .. });
    let words = match phase {
        UploadPhase::Waiting => "Waits for the others".to_owned(),
        UploadPhase::Sending { sent, total, speed } => {
            let left = speed.and_then(|speed| left_s(*sent, *total, speed));
            let left = left.map(|left| format!(", {} left", format::seconds(left))).unwrap_or_default();
            let speed = speed.map(|speed| format!(", {}/s", format::bytes(speed))).unwrap_or_default();
            let (share, sent, total) = (format::percent(*sent, *total), format::bytes(*sent), format::bytes(*total));
            format!("{share} %, {sent} of {total}{speed}{left}")
        }
        UploadPhase::Storing => format!("100 %, {} sent; the server stores it", format::bytes(size)),
        UploadPhase::Stored(_) => "Stored".to_owned(),
        UploadPhase::Failed { detail, .. } => format!("Failed: {detail}"),
        UploadPhase::Cancelled { all_sent: false } => "Cancelled; nothing was stored".to_owned(),
        UploadPhase::Cancelled { all_sent: true } => "Cancelled when all was sent; it may have been stored".to_owned(),
    };
    let role = failed.then_some("alert");
    view! { <span class="muted" class:error=failed role=role>{words}</span> }
}

/// The files of a browser's list.
pub fn collect(list: &FileList) -> Vec<File> {
    (0..list.length()).filter_map(|index| list.get(index)).collect()
}

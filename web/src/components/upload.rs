//! Choosing files to upload, and how far each upload is.

use leptos::callback::{Callable, Callback, UnsyncCallback};
use leptos::ev::DragEvent;
use leptos::html::Input;
use leptos::prelude::{
    ArcRwSignal, AriaAttributes, ClassAttribute, CustomAttribute, ElementChild, For, Get, GlobalAttributes, IntoAny,
    IntoView, NodeRef, NodeRefAttribute, OnAttribute, RwSignal, Set, Signal, StyleAttribute, With, component, view,
};
use web_sys::{File, FileList};

use crate::components::way_steps::WaySteps;
use crate::format;
use crate::model::upload::UploadPhase;
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
    pub way: Signal<Option<Way>>,
}

/// A place to pick files from or drop them on.
#[component]
pub fn UploadPicker(
    /// Files were chosen.
    on_files: UnsyncCallback<Vec<File>>,
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
    let hover = move |event: DragEvent| {
        event.prevent_default();
        over.set(true);
    };
    let dropped = move |event: DragEvent| {
        event.prevent_default();
        over.set(false);
        let files = event.data_transfer().and_then(|data| data.files()).map(|list| collect(&list));
        on_files.run(files.unwrap_or_default());
    };
    view! {
        <div
            class="drop"
            class:over=move || over.get()
            on:dragover=hover
            on:dragleave=move |_| over.set(false)
            on:drop=dropped
        >
            <label for="upload-input">"Drop files here, or choose them:"</label>
            <input id="upload-input" data-testid="upload-input" type="file" multiple node_ref=input on:change=picked />
        </div>
    }
}

/// The uploads of this page, newest first.
#[component]
pub fn UploadList(
    /// The uploads.
    uploads: Signal<Vec<UploadItem>>,
    /// One shall be cancelled.
    on_cancel: Callback<u32>,
    /// One shall no longer be shown.
    on_dismiss: Callback<u32>,
) -> impl IntoView {
    view! {
        <ul class="uploads" aria-label="Uploads">
            <For each=move || uploads.get() key=|item| item.id let:item>
                <UploadRow item=item on_cancel=on_cancel on_dismiss=on_dismiss />
            </For>
        </ul>
    }
}

#[component]
fn UploadRow(item: UploadItem, on_cancel: Callback<u32>, on_dismiss: Callback<u32>) -> impl IntoView {
    let UploadItem { id, title, size, phase, way } = item;
    let (shown, button) = (phase.clone(), phase.clone());
    let percent = move || match phase.get() {
        UploadPhase::Waiting => Some(0),
        UploadPhase::Sending { sent, total, .. } => Some(format::percent(sent, total)),
        UploadPhase::Storing => Some(100),
        UploadPhase::Stored(_) | UploadPhase::Failed(_) | UploadPhase::Cancelled => None,
    };
    let label = format!("Upload of {title}");
    let bar = move || {
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
    };
    let body = move || match shown.get() {
        UploadPhase::Stored(_) => view! { <WaySteps way=way /> }.into_any(),
        phase => phase_words(&phase, size).into_any(),
    };
    let over = move || button.with(UploadPhase::is_over);
    let press = {
        let over = over.clone();
        move |_| if over() { on_dismiss.run(id) } else { on_cancel.run(id) }
    };
    view! {
        <li data-testid="upload-item">
            <div class="line">
                <strong class="name">{title.clone()}</strong>
                <span class="muted">{format::bytes(size)}</span>
                <button type="button" class="quiet" on:click=press>
                    {move || if over() { "Dismiss" } else { "Cancel" }}
                </button>
            </div>
            {bar}
            <div data-testid="upload-progress">{body}</div>
        </li>
    }
}

fn phase_words(phase: &UploadPhase, size: u64) -> impl IntoView + use<> {
    let failed = matches!(phase, UploadPhase::Failed(_));
    let words = match phase {
        UploadPhase::Waiting => "Waits for the others".to_owned(),
        UploadPhase::Sending { sent, total, speed } => {
            let speed = speed.map(|speed| format!(", {}/s", format::bytes(speed))).unwrap_or_default();
            let (share, sent, total) = (format::percent(*sent, *total), format::bytes(*sent), format::bytes(*total));
            format!("{share} %, {sent} of {total}{speed}")
        }
        UploadPhase::Storing => format!("100 %, {} sent; the server stores it", format::bytes(size)),
        UploadPhase::Stored(_) => "Stored".to_owned(),
        UploadPhase::Failed(detail) => format!("Failed: {detail}"),
        UploadPhase::Cancelled => "Cancelled; nothing was stored".to_owned(),
    };
    let role = if failed { "alert" } else { "note" };
    view! { <span class="muted" class:error=failed role=role>{words}</span> }
}

/// The files of a browser's list.
pub fn collect(list: &FileList) -> Vec<File> {
    (0..list.length()).filter_map(|index| list.get(index)).collect()
}

//! The same action as a line for the terminal.

use leptos::html::Code;
use leptos::prelude::{
    ClassAttribute, ElementChild, Get, GetUntracked, GlobalAttributes, IntoAny, IntoView, NodeRef, NodeRefAttribute,
    OnAttribute, RwSignal, Signal, component, view,
};
use leptos::reactive::traits::Set as _;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Element, HtmlDocument, Window};

use crate::components::changing::{click, text};
use crate::tasks;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    NotYet,
    Done,
    /// The browser copies nothing for this page; the line is selected, so that the user can.
    Selected,
}

/// Lines to copy.
#[component]
pub fn Commands(
    /// The lines.
    lines: Signal<Vec<String>>,
) -> impl IntoView {
    let line = |command: String| {
        let (copied, code) = (RwSignal::new(Copied::NotYet), NodeRef::<Code>::new());
        let line_text = command.clone();
        let copy = move |_| {
            let (line, shown) = (line_text.clone(), code.get_untracked());
            tasks::spawn(async move {
                let result = copy(&line, shown.as_ref().map(AsRef::as_ref)).await;
                // The line may be gone by now.
                copied.try_set(result);
            });
        };
        let words = text(move || match copied.get() {
            Copied::NotYet => "Copy",
            Copied::Done => "Copied",
            Copied::Selected => "Selected: press Ctrl+C",
        });
        view! {
            <li>
                <code tabindex="0" node_ref=code>{command}</code>
                <button type="button" class="quiet" on:click=click(copy)>{words}</button>
            </li>
        }
    };
    view! { <ul class="commands">{move || lines.get().into_iter().map(line).collect::<Vec<_>>()}</ul> }.into_any()
}

/// Lines to copy, folded away.
#[component]
pub fn Curl(
    /// The lines.
    lines: Signal<Vec<String>>,
) -> impl IntoView {
    view! {
        <details class="curl">
            <summary>"curl"</summary>
            <Commands lines=lines />
        </details>
    }
}

/// Copies `text`. Browsers give the clipboard only to pages from https or this machine, and may refuse it to these: then
/// the older way is tried with what `shown` shows, which stays selected.
async fn copy(text: &str, shown: Option<&Element>) -> Copied {
    let Some(window) = web_sys::window() else { return Copied::NotYet };
    if has_clipboard(&window) && JsFuture::from(window.navigator().clipboard().write_text(text)).await.is_ok() {
        return Copied::Done;
    }
    let selected = shown.is_some_and(|shown| select(&window, shown).is_some());
    let document = window.document().and_then(|document| document.dyn_into::<HtmlDocument>().ok());
    if selected && document.is_some_and(|document| document.exec_command("copy").unwrap_or(false)) {
        Copied::Done
    } else {
        Copied::Selected
    }
}

fn has_clipboard(window: &Window) -> bool {
    js_sys::Reflect::get(&window.navigator(), &JsValue::from_str("clipboard"))
        .is_ok_and(|clipboard| clipboard.is_object())
}

fn select(window: &Window, shown: &Element) -> Option<()> {
    window.get_selection().ok().flatten()?.select_all_children(shown).ok()
}

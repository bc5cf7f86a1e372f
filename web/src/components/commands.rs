//! The same action as a line for the terminal.

use leptos::prelude::{
    ClassAttribute, ElementChild, Get, GlobalAttributes, IntoAny, IntoView, OnAttribute, RwSignal, Set, Signal,
    component, view,
};

/// Lines to copy.
#[component]
pub fn Commands(
    /// The lines.
    lines: Signal<Vec<String>>,
) -> impl IntoView {
    let line = |command: String| {
        let copied = RwSignal::new(false);
        let copy = {
            let command = command.clone();
            move |_| {
                let clipboard = web_sys::window().map(|window| window.navigator().clipboard());
                // Whether the browser allows it or not, the line stays selectable.
                copied.set(clipboard.map(|clipboard| clipboard.write_text(&command)).is_some());
            }
        };
        view! {
            <li>
                <code tabindex="0">{command}</code>
                <button type="button" class="quiet" on:click=copy>
                    {move || if copied.get() { "Copied" } else { "Copy" }}
                </button>
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

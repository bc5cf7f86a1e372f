//! Who uses the page.

use leptos::callback::{Callable, Callback};
use leptos::prelude::{
    ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoView, OnAttribute, PropAttribute, Signal,
    component, event_target, event_target_value, view,
};
use shared::ids::UserId;
use web_sys::HtmlInputElement;

/// A field for the user's name. A text that is no name is put back.
#[component]
pub fn UserSwitch(
    /// Who uses the page.
    user: Signal<UserId>,
    /// Somebody entered a text.
    on_switch: Callback<String>,
) -> impl IntoView {
    let changed = move |event| {
        on_switch.run(event_target_value(&event));
        event_target::<HtmlInputElement>(&event).set_value(user.get().as_str());
    };
    view! {
        <label class="user">
            <span>"User"</span>
            <input
                type="text"
                data-testid="user"
                autocomplete="username"
                spellcheck="false"
                maxlength="128"
                size="10"
                prop:value=move || user.get().to_string()
                on:change=changed
            />
        </label>
    }
}

//! Where the keyboard goes when the element that had it is gone: to its successor, not to the page's beginning.

use leptos::leptos_dom::helpers::request_animation_frame;
use wasm_bindgen::JsCast;
use web_sys::{Document, Element, HtmlElement};

/// What can have the focus without being told so.
const FOCUSABLE: &str = "button, input, select, summary, a[href], [tabindex]";

/// Once the page has changed: if the focus was lost by that, `successor` gets it.
pub fn when_lost(successor: impl FnOnce() -> Option<Element> + 'static) {
    // Changes are shown by effects, which have run by the time of the next frame but one.
    request_animation_frame(move || {
        request_animation_frame(move || {
            if is_lost() {
                successor().as_ref().map(focus);
            }
        });
    });
}

/// The element of this id.
pub fn named(id: &str) -> Option<Element> {
    document()?.get_element_by_id(id)
}

/// The first thing in `element` that can have the focus.
pub fn first_in(element: &Element) -> Option<Element> {
    element.query_selector(FOCUSABLE).ok().flatten()
}

/// Gives `element` the focus.
pub fn focus(element: &Element) {
    if let Some(element) = element.dyn_ref::<HtmlElement>()
        && let Err(error) = element.focus()
    {
        leptos::logging::warn!("the focus can't be set: {error:?}");
    }
}

fn is_lost() -> bool {
    document().is_some_and(|document| {
        let active = document.active_element();
        active.is_none() || active == document.body().map(Into::into)
    })
}

fn document() -> Option<Document> {
    web_sys::window()?.document()
}

//! The frame of the page: joins the sections and opens the event stream.

use leptos::prelude::{ClassAttribute, ElementChild, Get, GlobalAttributes, IntoView, component, view};

use crate::pages::concurrency::Concurrency;
use crate::pages::events::Events;
use crate::pages::files::Files;
use crate::pages::header::Header;
use crate::pages::network::Network;
use crate::session::Session;

/// The whole page.
#[component]
pub fn App() -> impl IntoView {
    let session = Session::new()?;
    session.connect();
    Some(view! {
        <a class="skip" href="#content">"Skip to the content"</a>
        <Header session=session />
        <main id="content" class:stale-content=move || session.connection.get().is_stale()>
            <div class="column">
                <Files session=session />
                <Events session=session />
            </div>
            <div class="column">
                <Network session=session />
                <Concurrency session=session />
            </div>
        </main>
    })
}

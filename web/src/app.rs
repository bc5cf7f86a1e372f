//! The frame of the page: joins the sections and opens the event stream.

use leptos::prelude::{
    ClassAttribute, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoView, component, view,
};

use crate::components::changing::flag;
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
        <div class="page" class:old=flag(move || session.stale.get()) data-testid="page">
            <a class="skip" href="#content">"Skip to the content"</a>
            <Header session=session />
            <main id="content" tabindex="-1">
                <div class="column">
                    <Files session=session />
                    <Events session=session />
                </div>
                <div class="column">
                    <Network session=session />
                    <Concurrency session=session />
                </div>
            </main>
            <footer>
                <small class="muted"><a href="../docs">"The calls of the API"</a></small>
            </footer>
        </div>
    })
}

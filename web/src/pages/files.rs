//! Files: uploading them, and the list of those that the user may see, joined with what the event stream tells.

use std::time::Duration;

use leptos::callback::{Callback, UnsyncCallback};
use leptos::leptos_dom::helpers::{TimeoutHandle, set_timeout_with_handle};
use leptos::prelude::{
    AriaAttributes, ClassAttribute, ElementChild, Get, GetUntracked, GetValue, GlobalAttributes, IntoView,
    LocalStorage, Memo, OnAttribute, RwSignal, Set, SetValue, Signal, StoredValue, Track, Update, With, WithUntracked,
    component, on_cleanup, view,
};
use shared::ids::{FileId, Version};
use shared::wire::rest::FileOut;
use web_sys::File;

use crate::address;
use crate::components::changing::{click, effect, flag, memo, part, rows, text};
use crate::components::commands::Curl;
use crate::components::file_row::{FileActions, FileRow};
use crate::components::focus;
use crate::components::upload::{UploadActions, UploadList, UploadPicker};
use crate::format;
use crate::model::Model;
use crate::pages::calls::Calls;
use crate::pages::uploads::Uploads;
use crate::rest::upload::{self, Target};
use crate::rest::{self, RestError};
use crate::session::{Session, user_named};

/// How many files one page of the list has.
const PAGE: usize = 50;
/// The most files that one request may ask for; the server's limit.
const LARGEST_PAGE: usize = 500;
/// How long changes are gathered before the list is fetched anew. A guess: a burst costs one request, nobody waits.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// The list as far as it was fetched.
#[derive(Debug, Clone, Copy)]
struct Listing {
    files: RwSignal<Vec<FileOut>>,
    next: RwSignal<Option<String>>,
    problem: RwSignal<Option<String>>,
    loaded: RwSignal<bool>,
    /// Grows with each request that makes older answers worthless.
    round: StoredValue<u32>,
    timer: StoredValue<Option<TimeoutHandle>, LocalStorage>,
    /// The next answer lacks a row whose button may have the focus.
    row_goes: StoredValue<bool>,
    calls: Calls,
    session: Session,
}

/// Uploads and the list of files.
#[component]
pub fn Files(
    /// The page's shared state.
    session: Session,
) -> impl IntoView {
    let listing = Listing::new(session);
    let uploads = Uploads::new(session, Callback::new(move |file: FileOut| listing.insert(file)));
    let add = UnsyncCallback::new(move |files: Vec<File>| {
        if !files.is_empty() && !session.may_act() {
            return;
        }
        for file in files {
            let title = file.name();
            uploads.add(file, title, Target::New { key: upload::new_key() });
        }
    });
    let command = Signal::derive(move || {
        let who = format::quoted(&format!("X-User-Id: {}", session.user.get()));
        vec![format!("curl -H {who} -F uploaded=@FILE {}/files", address::api())]
    });
    view! {
        <section class="card" aria-labelledby="upload-title">
            <div class="title">
                <h2 id="upload-title">"Upload"</h2>
                <Curl lines=command />
            </div>
            <UploadPicker on_files=add off=session.stale.into() />
            <UploadList uploads=uploads.list.into() actions=upload_actions(session, uploads) />
        </section>
        <section class="card" aria-labelledby="files-title">
            <div class="title"><h2 id="files-title" tabindex="-1">"Files"</h2></div>
            <Table listing=listing uploads=uploads />
        </section>
    }
}

fn upload_actions(session: Session, uploads: Uploads) -> UploadActions {
    UploadActions {
        cancel: Callback::new(move |id| uploads.cancel(id)),
        retry: Callback::new(move |id| {
            if session.may_act() {
                uploads.retry(id);
                focus::when_lost(|| focus::named("upload-input"));
            }
        }),
        dismiss: Callback::new(move |id| {
            uploads.dismiss(id);
            focus::when_lost(|| focus::named("upload-input"));
        }),
        off: session.stale.into(),
    }
}

#[component]
fn Table(listing: Listing, uploads: Uploads) -> impl IntoView {
    let actions = actions(&listing, uploads);
    let ids = memo(move || listing.files.with(|files| files.iter().map(|f| f.id.clone()).collect::<Vec<_>>()));
    let empty = part(move || {
        let user = listing.session.user.get();
        (ids.get().is_empty() && listing.loaded.get())
            .then(|| view! { <p class="muted">{format!("{user} has no files yet. Upload one.")}</p> })
    });
    // Kept while there are more: else each page would put a new button in the place of the one with the focus.
    let has_more = memo(move || listing.next.with(Option::is_some));
    let more = part(move || {
        has_more.get().then(|| {
            let off = text(move || listing.session.stale.get().to_string());
            view! { <button type="button" aria-disabled=off on:click=click(move |_| listing.fetch_more())>"More"</button> }
        })
    });
    view! {
        <table class="files" class:empty=flag(move || ids.get().is_empty())>
            <thead>
                <tr>
                    <th scope="col">"Name"</th>
                    <th scope="col">"Version"</th>
                    <th scope="col">"Size"</th>
                    <th scope="col">"At the peers"</th>
                    <th scope="col"><span class="hidden">"Actions"</span></th>
                </tr>
            </thead>
            <tbody>
                {rows(move || ids.get(), Clone::clone, move |id| row(&listing, id, actions))}
            </tbody>
        </table>
        {empty}
        {part(move || listing.problem.get().map(|problem| view! { <p class="error" role="alert">{problem}</p> }))}
        {more}
    }
}

fn row(listing: &Listing, id: String, actions: FileActions) -> Option<impl IntoView + use<>> {
    let Listing { files, session, .. } = *listing;
    let file_id = id.parse::<FileId>().ok();
    let find = { move |files: &Vec<FileOut>| files.iter().find(|file| file.id == id).cloned() };
    let first = files.with_untracked(&find)?;
    // A row outlives its file by a moment when it is deleted: it keeps what it showed last.
    let file = Memo::new(move |before: Option<&FileOut>| {
        files.with(&find).or_else(|| before.cloned()).unwrap_or_else(|| first.clone())
    });
    let model = session.model;
    // The list may be older than the stream, which tells of the latest version. Somebody else's isn't this file's.
    let reach = memo(move || {
        model.with(|model| {
            let overview = model.overview()?;
            let view = overview.files.get(file_id.as_ref()?)?;
            (!view.is_foreign(Version(file.with(|file| file.version)))).then(|| view.reach(&overview.peers))
        })
    });
    let (api, user) = (address::api(), session.user.into());
    Some(view! { <FileRow file=file.into() user=user reach=reach.into() api=api actions=actions /> })
}

fn actions(listing: &Listing, uploads: Uploads) -> FileActions {
    let listing = *listing;
    let session = listing.session;
    FileActions {
        off: session.stale.into(),
        download: Callback::new(move |file: FileOut| {
            if !session.may_act() {
                return;
            }
            listing.calls.run(async move {
                let user = session.user.get_untracked();
                let result = rest::download_file(&user, &file.id, &file.filename).await;
                session.report(result, format!("Downloaded {}.", file.filename));
            });
        }),
        replace: UnsyncCallback::new(move |(file, content): (FileOut, File)| {
            if !session.may_act() {
                return;
            }
            let title = format!("{} in place of {}", content.name(), file.filename);
            uploads.add(content, title, Target::Replace { id: file.id, version: Version(file.version) });
        }),
        share: Callback::new(move |(file, target): (FileOut, String)| {
            let Some(target) = user_named(&target) else {
                session.say("A user's name is 1 to 128 plain characters.".to_owned());
                return;
            };
            if !session.may_act() {
                return;
            }
            listing.calls.run(async move {
                let user = session.user.get_untracked();
                let result = rest::share_file(&user, &file.id, &target).await;
                session.report(result, format!("{target} can now see {}.", file.filename));
            });
        }),
        delete: Callback::new(move |file: FileOut| {
            if !session.may_act() {
                return;
            }
            listing.calls.run(async move {
                let user = session.user.get_untracked();
                let result = rest::delete_file(&user, &file.id, Version(file.version)).await;
                session.report(result, format!("Deleted {}.", file.filename));
                listing.row_goes.set_value(true);
                listing.fetch_soon();
            });
        }),
    }
}

impl Listing {
    /// A list that is fetched now, when the user changes and when the event stream tells of changes.
    fn new(session: Session) -> Self {
        let listing = Self {
            files: RwSignal::new(Vec::new()),
            next: RwSignal::new(None),
            problem: RwSignal::new(None),
            loaded: RwSignal::new(false),
            round: StoredValue::new(0),
            timer: StoredValue::new_local(None),
            row_goes: StoredValue::new(false),
            calls: Calls::new(),
            session,
        };
        effect(move || {
            session.user.track();
            listing.files.set(Vec::new());
            listing.loaded.set(false);
            listing.fetch();
        });
        let changes = memo(move || session.model.with(Model::file_changes));
        effect(move || {
            if changes.get() > 0 {
                listing.fetch_soon();
            }
        });
        on_cleanup(move || listing.stop_timer());
        listing
    }

    /// A file that the server just acknowledged is shown at once; the list that is fetched next has it too. Not in the
    /// list of another user, to whom the page belongs by now.
    fn insert(self, file: FileOut) {
        self.session.learn_names(std::slice::from_ref(&file));
        if file.owner_id == self.session.user.get_untracked().as_str() {
            self.files.update(|files| match files.iter_mut().find(|known| known.id == file.id) {
                Some(known) => *known = file,
                None => files.insert(0, file),
            });
        }
        self.fetch_soon();
    }

    fn fetch_soon(self) {
        self.stop_timer();
        self.timer.set_value(set_timeout_with_handle(move || self.fetch(), DEBOUNCE).ok());
    }

    fn stop_timer(self) {
        if let Some(timer) = self.timer.try_get_value().flatten() {
            timer.clear();
        }
    }

    /// Fetches as many files as are shown, at least a page.
    fn fetch(self) {
        let shown = self.files.with_untracked(Vec::len);
        let path = rest::first_page(shown.clamp(PAGE, LARGEST_PAGE));
        self.load(path, |files, fetched| *files = fetched);
    }

    fn fetch_more(self) {
        let Some(next) = self.next.get_untracked().filter(|_| self.session.may_act()) else { return };
        self.row_goes.set_value(true); // the button may
        self.load(next, |files, fetched| {
            for file in fetched {
                if !files.iter().any(|known| known.id == file.id) {
                    files.push(file);
                }
            }
        });
    }

    fn load(self, path: String, merge: impl FnOnce(&mut Vec<FileOut>, Vec<FileOut>) + 'static) {
        let round = self.round.get_value() + 1;
        self.round.set_value(round);
        self.calls.run(async move {
            let user = self.session.user.get_untracked();
            let answer = rest::list_files(&user, &path).await;
            if self.round.get_value() != round {
                return; // a later request will tell more
            }
            match answer {
                Ok(page) => {
                    self.session.learn_names(&page.files);
                    self.files.update(|files| merge(files, page.files));
                    self.next.set(page.next);
                    self.problem.set(None);
                    self.loaded.set(true);
                    if self.row_goes.get_value() {
                        self.row_goes.set_value(false);
                        focus::when_lost(|| focus::named("files-title"));
                    }
                }
                // The header says that the server is away; the list is fetched when it is back.
                Err(RestError::Unreachable) => {}
                Err(error) => self.problem.set(Some(error.to_string())),
            }
        });
    }
}

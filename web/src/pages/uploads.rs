//! The uploads of this page: a few at a time, each with its progress.

use std::collections::{BTreeMap, VecDeque};

use leptos::callback::{Callable, Callback};
use leptos::prelude::{
    ArcRwSignal, GetUntracked, LocalStorage, RwSignal, Set, Signal, StoredValue, Update, UpdateValue, With,
    WithUntracked, WithValue,
};
use shared::ids::{FileId, UserId};
use shared::wire::rest::FileOut;
use web_sys::File;

use crate::components::upload::UploadItem;
use crate::model::upload::{Meter, UploadPhase};
use crate::model::way::Way;
use crate::rest::upload::{self, Progress, Running, Target};
use crate::session::Session;

/// How many uploads run at once. Browsers open six connections to a server; the page needs some itself.
const AT_ONCE: usize = 3;
/// How many uploads are shown; the oldest that are over go first. A guess: a few screens.
const SHOWN: usize = 50;

/// An upload that hasn't started.
struct Job {
    id: u32,
    target: Target,
    user: UserId,
    file: File,
    phase: ArcRwSignal<UploadPhase>,
}

/// The uploads; copies are the same.
#[derive(Clone, Copy)]
pub struct Uploads {
    /// What to show, newest first.
    pub list: RwSignal<Vec<UploadItem>>,
    session: Session,
    on_stored: Callback<FileOut>,
    waiting: StoredValue<VecDeque<Job>, LocalStorage>,
    running: StoredValue<BTreeMap<u32, Running>, LocalStorage>,
    last_id: StoredValue<u32>,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").finish_non_exhaustive()
    }
}

impl Uploads {
    /// None yet; `on_stored` hears of each file that the server acknowledged.
    pub fn new(session: Session, on_stored: Callback<FileOut>) -> Self {
        Self {
            list: RwSignal::new(Vec::new()),
            session,
            on_stored,
            waiting: StoredValue::new_local(VecDeque::new()),
            running: StoredValue::new_local(BTreeMap::new()),
            last_id: StoredValue::new(0),
        }
    }

    /// Uploads `file` as soon as others leave room. `title` says what for.
    pub fn add(self, file: File, title: String, target: Target) {
        let id = self.last_id.try_update_value(|last| {
            *last += 1;
            *last
        });
        let Some(id) = id else { return };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are whole, below 2^53")]
        let size = file.size() as u64;
        let phase = ArcRwSignal::new(UploadPhase::Waiting);
        let way = way_of(self.session, phase.clone());
        let item = UploadItem { id, title, size, phase: phase.clone(), way };
        self.list.update(|list| {
            list.insert(0, item);
            if list.len() > SHOWN
                && let Some(oldest) = list.iter().rposition(|item| item.phase.with_untracked(UploadPhase::is_over))
            {
                list.remove(oldest);
            }
        });
        let job = Job { id, target, user: self.session.user.get_untracked(), file, phase };
        self.waiting.update_value(|waiting| waiting.push_back(job));
        self.start_next();
    }

    /// Stops an upload; the server keeps nothing of it.
    pub fn cancel(self, id: u32) {
        self.waiting.update_value(|waiting| waiting.retain(|job| job.id != id));
        let running = self.running.try_update_value(|running| running.remove(&id)).flatten();
        drop(running);
        let item = self.list.with_untracked(|list| list.iter().find(|item| item.id == id).cloned());
        if let Some(item) = item {
            item.phase.set(UploadPhase::Cancelled);
        }
        self.start_next();
    }

    /// No longer shows an upload.
    pub fn dismiss(self, id: u32) {
        self.list.update(|list| list.retain(|item| item.id != id));
    }

    fn start_next(self) {
        while self.running.with_value(BTreeMap::len) < AT_ONCE {
            let Some(job) = self.waiting.try_update_value(VecDeque::pop_front).flatten() else { return };
            let (id, phase) = (job.id, job.phase.clone());
            match upload::start(&job.target, &job.user, &job.file, self.reporter(id, job.phase)) {
                Ok(running) => self.running.update_value(|all| drop(all.insert(id, running))),
                Err(error) => phase.set(UploadPhase::Failed(error.to_string())),
            }
        }
    }

    /// Turns what an upload tells into its phase.
    fn reporter(self, id: u32, phase: ArcRwSignal<UploadPhase>) -> impl Fn(Progress) + Clone + 'static {
        let meter = StoredValue::new_local(Meter::default());
        move |progress| match progress {
            Progress::Sent { sent, total } => {
                let speed = meter.try_update_value(|meter| meter.note(now_ms(), sent)).flatten();
                phase.set(UploadPhase::Sending { sent, total, speed });
            }
            Progress::AllSent => phase.set(UploadPhase::Storing),
            Progress::Ended(result) => {
                match result {
                    Ok(file) => {
                        self.on_stored.run((*file).clone());
                        phase.set(UploadPhase::Stored(file));
                    }
                    Err(error) => phase.set(UploadPhase::Failed(error.to_string())),
                }
                // Not now: this closure belongs to what is dropped.
                leptos::task::spawn_local(async move {
                    drop(self.running.try_update_value(|running| running.remove(&id)));
                    self.start_next();
                });
            }
        }
    }
}

/// How far the stored version has come.
fn way_of(session: Session, phase: ArcRwSignal<UploadPhase>) -> Signal<Option<Way>> {
    Signal::derive(move || {
        let file = phase.with(|phase| match phase {
            UploadPhase::Stored(file) => file.id.parse::<FileId>().ok(),
            _ => None,
        })?;
        session.model.with(|model| Way::of(model.overview()?, &file))
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds since 1970")]
fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

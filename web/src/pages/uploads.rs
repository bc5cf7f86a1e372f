//! The uploads of this page: a few at a time, each with its progress.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use leptos::callback::{Callable, Callback};
use leptos::prelude::{
    ArcMemo, ArcRwSignal, GetUntracked, LocalStorage, RwSignal, Set, StoredValue, Update, UpdateValue, With,
    WithUntracked, WithValue,
};
use shared::ids::{FileId, UserId, Version};
use shared::wire::rest::FileOut;
use web_sys::File;

use crate::components::upload::UploadItem;
use crate::model::upload::{Meter, UploadPhase};
use crate::model::way::Way;
use crate::rest::RestError;
use crate::rest::upload::{self, Progress, Running, Target};
use crate::session::Session;
use crate::small_map::SmallMap;
use crate::tasks;

/// How many uploads run at once. Browsers open six connections to a server; the page needs some itself.
const AT_ONCE: usize = 3;
/// How many uploads are shown; the oldest that are over go first. A guess: a few screens.
const SHOWN: usize = 50;

/// An upload that the server hasn't acknowledged: what is needed to make it, once more if need be.
#[derive(Clone)]
struct Job {
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
    jobs: StoredValue<SmallMap<u32, Job>, LocalStorage>,
    /// Those that wait for others to leave room.
    waiting: StoredValue<VecDeque<u32>>,
    running: StoredValue<SmallMap<u32, Running>, LocalStorage>,
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
            jobs: StoredValue::new_local(SmallMap::new()),
            waiting: StoredValue::new(VecDeque::new()),
            running: StoredValue::new_local(SmallMap::new()),
            last_id: StoredValue::new(0),
        }
    }

    /// Uploads `file` as soon as others leave room. `title` says what for.
    ///
    /// Nothing that is made here may belong to an owner of reactive values: the row whose button called this may be gone
    /// before the upload is over.
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
        let job = Job { target, user: self.session.user.get_untracked(), file, phase };
        self.jobs.update_value(|jobs| jobs.put(id, job));
        self.list.update(|list| {
            list.insert(0, item);
            if list.len() > SHOWN
                && let Some(oldest) = list.iter().rposition(|item| item.phase.with_untracked(UploadPhase::is_over))
            {
                let gone = list.remove(oldest);
                self.jobs.update_value(|jobs| drop(jobs.take(&gone.id)));
            }
        });
        self.enqueue(id);
    }

    /// Stops an upload; the server keeps nothing of it unless all was sent.
    pub fn cancel(self, id: u32) {
        self.waiting.update_value(|waiting| waiting.retain(|waits| *waits != id));
        let running = self.running.try_update_value(|running| running.take(&id)).flatten();
        drop(running);
        if let Some(job) = self.job(id) {
            job.phase.update(|phase| *phase = phase.cancelled());
        }
        self.start_next();
    }

    /// Tries once more what failed or was cancelled. Where the server has said that somebody else has replaced the version
    /// meanwhile, theirs is replaced now: the button says so.
    pub fn retry(self, id: u32) {
        let Some(mut job) = self.job(id) else { return };
        if let Target::Replace { id: file, version } = &mut job.target
            && job.phase.with_untracked(UploadPhase::is_conflict)
            && let Some(latest) = self.latest(file)
        {
            *version = latest;
        }
        job.phase.set(UploadPhase::Waiting);
        self.jobs.update_value(|jobs| jobs.put(id, job));
        self.enqueue(id);
    }

    /// No longer shows an upload.
    pub fn dismiss(self, id: u32) {
        self.jobs.update_value(|jobs| drop(jobs.take(&id)));
        self.list.update(|list| list.retain(|item| item.id != id));
    }

    fn job(self, id: u32) -> Option<Job> {
        self.jobs.with_value(|jobs| jobs.get(&id).cloned())
    }

    /// The latest version of a file that the stream told of.
    fn latest(self, file: &str) -> Option<Version> {
        let file = file.parse::<FileId>().ok()?;
        self.session.model.with_untracked(|model| Some(model.overview()?.files.get(&file)?.version))
    }

    fn enqueue(self, id: u32) {
        self.waiting.update_value(|waiting| waiting.push_back(id));
        self.start_next();
    }

    fn start_next(self) {
        while self.running.with_value(|running| running.entries().len()) < AT_ONCE {
            let Some(id) = self.waiting.try_update_value(VecDeque::pop_front).flatten() else { return };
            let Some(job) = self.job(id) else { continue };
            match upload::start(&job.target, &job.user, &job.file, self.reporter(id, job.phase.clone())) {
                Ok(running) => self.running.update_value(|all| all.put(id, running)),
                Err(error) => job.phase.set(failed(&error)),
            }
        }
    }

    /// Turns what an upload tells into its phase.
    fn reporter(self, id: u32, phase: ArcRwSignal<UploadPhase>) -> impl Fn(Progress) + Clone + 'static {
        let meter = Rc::new(RefCell::new(Meter::default()));
        move |progress| match progress {
            Progress::Sent { sent, total } => {
                let speed = meter.borrow_mut().note(now_ms(), sent);
                phase.set(UploadPhase::Sending { sent, total, speed });
            }
            Progress::AllSent => phase.set(UploadPhase::Storing),
            Progress::Ended(result) => {
                match result {
                    Ok(file) => {
                        self.jobs.update_value(|jobs| drop(jobs.take(&id)));
                        self.on_stored.run((*file).clone());
                        phase.set(UploadPhase::Stored(file));
                    }
                    Err(error) => phase.set(failed(&error)),
                }
                // Not now: this closure belongs to what is dropped.
                tasks::spawn(async move {
                    drop(self.running.try_update_value(|running| running.take(&id)));
                    self.start_next();
                });
            }
        }
    }
}

fn failed(error: &RestError) -> UploadPhase {
    /// Precondition Failed: the file isn't at the version that was to be replaced.
    const CONFLICT: u16 = 412;
    let conflict = matches!(error, RestError::Refused { status: CONFLICT, .. });
    UploadPhase::Failed { detail: error.to_string(), conflict }
}

/// How far the stored version has come; what was seen of it stays.
fn way_of(session: Session, phase: ArcRwSignal<UploadPhase>) -> ArcMemo<Way> {
    ArcMemo::new(move |before: Option<&Way>| {
        let stored = phase.with(|phase| match phase {
            UploadPhase::Stored(file) => Some((file.id.parse::<FileId>().ok()?, Version(file.version))),
            _ => None,
        });
        let Some((file, version)) = stored else { return Way::default() };
        let way = session.model.with(|model| model.overview().map(|overview| Way::of(overview, &file, version)));
        way.unwrap_or_default().after(before)
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds since 1970")]
fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

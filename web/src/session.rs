//! What the whole page shares: who uses it, what is known and how old that is, how it is connected, what just went wrong.

use std::str::FromStr;
use std::time::Duration;

use gloo_timers::future::TimeoutFuture;
use leptos::ev;
use leptos::leptos_dom::helpers::{
    request_animation_frame, set_interval_with_handle, window_event_listener, window_event_listener_untyped,
};
use leptos::prelude::{
    Get, GetUntracked, GetValue, Memo, Notify, ReadUntracked, RwSignal, Set, SetValue, StoredValue, Update,
    UpdateUntracked, WithUntracked, on_cleanup,
};
use leptos::reactive::spawn_local_scoped_with_cancellation;
use shared::ids::UserId;
use shared::wire::rest::FileOut;
use shared::wire::stream::StreamFrame;
use web_sys::{Storage, Window};

use crate::address;
use crate::model::connection::Connection;
use crate::model::{ApplyError, Model};
use crate::rest::RestError;
use crate::small_map::SmallMap;
use crate::socket::{self, Listener};
use crate::tasks::{self, Task};

/// Where the browser keeps the user's name.
const USER_KEY: &str = "grapevine.user";
/// Where the browser tab notes that it was loaded anew for another format.
const RELOADED_KEY: &str = "grapevine.reloaded-for";
/// Who uses the page before anybody said so.
const DEFAULT_USER: &str = "alice";
/// How many names of files are remembered, those of deleted ones included. A guess: more than the event log tells of.
const NAME_LIMIT: usize = 2000;

/// How often the page looks how old what it shows is. Ages are told in whole seconds.
const TICK: Duration = Duration::from_secs(1);

/// A short message to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The message.
    pub text: String,
    /// Whether something went wrong.
    pub is_error: bool,
}

/// The page's shared state; copies are the same session.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// Who uses the page.
    pub user: RwSignal<UserId>,
    /// What the event stream told. Readers are notified at most once an animation frame.
    pub model: RwSignal<Model>,
    /// The event stream's state.
    pub connection: RwSignal<Connection>,
    /// How many seconds ago the server was last heard; `None` before it was.
    pub age_s: RwSignal<Option<u64>>,
    /// Whether what is shown may no longer be so.
    pub stale: Memo<bool>,
    /// How the files that this page has seen are called, by id.
    pub names: RwSignal<SmallMap<String, String>>,
    /// The last message to the user.
    pub notice: RwSignal<Option<Notice>>,
    /// When the server was last heard, in milliseconds since 1970 by this browser's clock.
    heard_ms: StoredValue<Option<u64>>,
    hurry: StoredValue<bool>,
    notify_due: StoredValue<bool>,
}

impl Session {
    /// A session with the user that this browser remembers; `None` where not even the default is a name.
    pub fn new() -> Option<Self> {
        let stored = local_storage().and_then(|storage| storage.get_item(USER_KEY).ok().flatten());
        let stored = stored.and_then(|name| user_named(&name));
        let user = stored.or_else(|| DEFAULT_USER.parse().ok())?;
        let (connection, age_s) = (RwSignal::new(Connection::default()), RwSignal::new(None));
        Some(Self {
            user: RwSignal::new(user),
            model: RwSignal::new(Model::default()),
            connection,
            age_s,
            stale: Memo::new(move |_| connection.get().is_stale(age_s.get())),
            heard_ms: StoredValue::new(None),
            names: RwSignal::new(SmallMap::new()),
            notice: RwSignal::new(None),
            hurry: StoredValue::new(false),
            notify_due: StoredValue::new(false),
        })
    }

    /// Opens the event stream; it is closed when the owner that calls this goes.
    pub fn connect(self) {
        self.grow_older();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any number is a good seed")]
        let seed = (js_sys::Math::random() * 9e15) as u64;
        let stream: Task = Box::pin(async move { socket::run(&address::stream(), seed, &self).await });
        spawn_local_scoped_with_cancellation(stream);
    }

    /// Tells how old what is shown is, each second and when the page comes back to somebody's eyes; the sooner the
    /// connection is restored then, the better.
    fn grow_older(self) {
        if let Ok(timer) = set_interval_with_handle(move || self.tell_age(), TICK) {
            on_cleanup(move || timer.clear());
        }
        let back = move || {
            self.tell_age();
            if is_seen() && matches!(self.connection.get_untracked(), Connection::Waiting { .. }) {
                self.hurry();
            }
        };
        let online = window_event_listener(ev::online, move |_| back());
        // It bubbles from the document up to here.
        let seen = window_event_listener_untyped("visibilitychange", move |_| back());
        on_cleanup(move || {
            online.remove();
            seen.remove();
        });
    }

    fn tell_age(self) {
        let age_s = self.heard_ms.get_value().map(|heard_ms| now_ms().saturating_sub(heard_ms) / 1000);
        if self.age_s.get_untracked() != age_s {
            self.age_s.set(age_s);
        }
    }

    /// When the server was last heard, in milliseconds since 1970.
    pub fn heard_ms(self) -> Option<u64> {
        self.heard_ms.get_value()
    }

    /// Whether something can be asked of the server now; says so where it can't.
    pub fn may_act(self) -> bool {
        let may = !self.stale.get_untracked();
        if !may {
            let text = "The server can't be reached; nothing was done.".to_owned();
            self.show(Notice { text, is_error: true });
        }
        may
    }

    /// Ends the wait before the next attempt to connect.
    pub fn hurry(self) {
        self.hurry.set_value(true);
    }

    /// Another user takes over; this browser remembers it.
    pub fn switch_user(self, user: UserId) {
        if let Some(storage) = local_storage()
            && let Err(error) = storage.set_item(USER_KEY, user.as_str())
        {
            leptos::logging::warn!("the user's name can't be remembered: {error:?}");
        }
        self.user.set(user);
    }

    /// Remembers how files are called.
    pub fn learn_names(self, files: &[FileOut]) {
        let known =
            self.names.with_untracked(|names| files.iter().all(|file| names.get(&file.id) == Some(&file.filename)));
        if !known {
            self.names.update(|names| {
                if names.entries().len() + files.len() > NAME_LIMIT {
                    *names = SmallMap::new();
                }
                for file in files {
                    names.put(file.id.clone(), file.filename.clone());
                }
            });
        }
    }

    /// Tells the user something.
    pub fn say(self, text: String) {
        self.show(Notice { text, is_error: false });
    }

    /// Tells the user what went wrong, or `done` where nothing did.
    pub fn report<T>(self, result: Result<T, RestError>, done: String) -> Option<T> {
        match result {
            Ok(value) => {
                self.say(done);
                Some(value)
            }
            Err(error) => {
                self.show(Notice { text: error.to_string(), is_error: true });
                None
            }
        }
    }

    /// Shows a notice for as long as it takes to read it.
    fn show(self, notice: Notice) {
        let long_ms = if notice.is_error { 12_000 } else { 4_000 };
        self.notice.set(Some(notice.clone()));
        tasks::spawn(async move {
            TimeoutFuture::new(long_ms).await;
            let shown = self.notice.try_read_untracked().is_some_and(|shown| shown.as_ref() == Some(&notice));
            if shown {
                self.notice.set(None);
            }
        });
    }

    /// Readers of the model learn of changes with the next animation frame, of many at once.
    fn notify_soon(self) {
        if !self.notify_due.get_value() {
            self.notify_due.set_value(true);
            request_animation_frame(move || {
                self.notify_due.try_set_value(false);
                self.model.notify();
            });
        }
    }
}

impl Listener for Session {
    fn connection(&self, state: Connection) {
        if self.connection.get_untracked() != state {
            self.connection.set(state);
        }
    }

    fn frame(&self, frame: StreamFrame) -> Result<(), ApplyError> {
        self.heard_ms.set_value(Some(now_ms()));
        self.tell_age();
        let applied = self.model.try_update_untracked(|model| model.apply(frame, is_seen()));
        self.notify_soon();
        applied.unwrap_or(Ok(()))
    }

    fn hurried(&self) -> bool {
        let hurried = self.hurry.get_value();
        self.hurry.set_value(false);
        hurried
    }

    fn outdated(&self, found: u32) -> bool {
        let Some(storage) = window().and_then(|window| window.session_storage().ok().flatten()) else { return false };
        let found = found.to_string();
        let tried = storage.get_item(RELOADED_KEY).ok().flatten().is_some_and(|tried| tried == found);
        let reload = || window()?.location().reload().ok();
        !tried && storage.set_item(RELOADED_KEY, &found).is_ok() && reload().is_some()
    }
}

/// The user called `text`; `None` where that is no name or can't stand in a header.
pub fn user_named(text: &str) -> Option<UserId> {
    let text = text.trim();
    UserId::from_str(text).ok().filter(|_| text.is_ascii())
}

/// How many minutes local time is ahead of UTC now.
pub fn ahead_min() -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "whole minutes, less than a day")]
    let behind = js_sys::Date::new_0().get_timezone_offset() as i32;
    -behind
}

/// Whether anybody can see the page: it isn't in a tab behind others.
fn is_seen() -> bool {
    window().and_then(|window| window.document()).is_none_or(|document| !document.hidden())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds since 1970")]
fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

fn local_storage() -> Option<Storage> {
    window()?.local_storage().ok().flatten()
}

fn window() -> Option<Window> {
    web_sys::window()
}

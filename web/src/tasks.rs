//! Tasks of the page. One copy of the code for all of them, for the page is to be small.

use std::pin::Pin;

/// What a task does.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs `task` beside all else.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let task: Task = Box::pin(task);
    leptos::task::spawn_local(task);
}

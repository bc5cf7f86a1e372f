//! Ending in order: every task is on one tracker and hears one token; shutdown waits for them, up to a limit.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// Where long-lived tasks are started. Clones share the tracker; [`Tasks::child`] has a token of its own.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// A group of tasks that can be stopped without the others, and stops with them.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: self.tracker.clone(), token: self.token.child_token() }
    }

    /// Starts a task. It should end soon after [`Tasks::token`] is cancelled.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn(task)
    }

    /// Cancelled when this group shall stop.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Tells every task of this group to stop, without waiting.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Stops everything and waits until it has ended, at most `limit`.
    pub async fn shut_down(&self, limit: Duration) {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            warn!(tasks = self.tracker.len(), "tasks didn't stop within {limit:?}");
        }
    }
}

/// Ends when the process is asked to stop: by Ctrl+C, SIGINT or SIGTERM.
pub async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            warn!(%error, "can't listen for SIGTERM");
            drop(interrupt.await);
        }
    }
}

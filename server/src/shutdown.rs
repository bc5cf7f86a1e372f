//! Ending in order: every task is on one tracker and hears one token; shutdown waits for them, up to a limit.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// The signals that ask the process to stop. From the moment that this is made they no longer kill it.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// A server's terminal may be closed under it; there is nothing to be read anew.
    _ignored: Option<Signal>,
}

impl StopSignals {
    /// Takes SIGINT (Ctrl+C) and SIGTERM, and SIGHUP, too, to pass it over where the process `outlives_its_terminal`.
    ///
    /// # Errors
    /// When the system doesn't let us.
    pub fn take(outlives_its_terminal: bool) -> io::Result<Self> {
        let hang_up = outlives_its_terminal.then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _ignored: hang_up,
        })
    }

    /// Waits until the process is asked to stop; at once if it was already.
    pub async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

//! Counts what lies in the outbox as often as it may have changed, for those who watch. Only looks.

use std::time::Duration;

use shared::wire::stream::OutboxView;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::hub::Hub;
use crate::store::Store;

/// How often it is counted while something waits: people see it shrink. A guess.
const EVERY: Duration = Duration::from_millis(250);

/// Counts until `token` is cancelled.
pub async fn run(store: Store, hub: Hub, token: CancellationToken) {
    token.run_until_cancelled_owned(count(store, hub)).await;
}

async fn count(store: Store, hub: Hub) {
    let mut changes = store.outbox_changes();
    loop {
        let waits = match store.outbox_counts().await {
            Ok((waiting, set_aside)) => {
                hub.count_outbox(OutboxView { waiting, set_aside });
                waiting > 0
            }
            Err(error) => {
                // `/ready` and whoever writes say so, too.
                debug!(error = &error as &dyn std::error::Error, "the outbox can't be counted");
                true
            }
        };
        if !waits && changes.changed().await.is_err() {
            return; // the store is gone, and the process with it
        }
        // Most events are gone again by then, and nobody needs to hear of them.
        tokio::time::sleep(EVERY).await;
    }
}

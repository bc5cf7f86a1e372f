//! What the store does by itself while it is open: it looks for contents that are missing, and for room on the disk.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use shared::ids::ContentHash;
use shared::wire::condition::Condition;
use tokio::task;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::shutdown::Tasks;
use crate::store::error::StoreError;
use crate::store::{Keeper, Store, metadata};

/// How often the room on the disk is looked at. Uploads look themselves.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After how many looks at the disk the lost contents are counted again: somebody may have taken care of them.
const LOOKS_PER_COUNT: u32 = 60;
/// How many contents are looked for at once.
const SURVEYED: u32 = 500;

impl Store {
    /// Starts what it does by itself, until `tasks` are told to stop.
    pub fn start_upkeep(&self, tasks: &Tasks) {
        let (store, token) = (self.clone(), tasks.token().clone());
        tasks.spawn(async move { token.run_until_cancelled_owned(store.keep_up()).await });
    }

    async fn keep_up(self) {
        if let Err(error) = self.survey().await {
            warn!(error = &error as &dyn std::error::Error, "the contents couldn't all be looked for");
        }
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0_u32.. {
            ticks.tick().await;
            let keeper = Arc::clone(&self.keeper);
            let looked = task::spawn_blocking(move || {
                keeper.look_for_room();
                if look.is_multiple_of(LOOKS_PER_COUNT) {
                    keeper.count_lost();
                }
            });
            // A panic has been reported by the runtime.
            drop(looked.await);
        }
    }

    /// Looks whether all contents that versions refer to are there, and as long as they were.
    async fn survey(&self) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let from = after.clone();
            let batch = self.db().read(move |connection| metadata::contents_after(connection, &from, SURVEYED)).await?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = last.to_string();
            let keeper = Arc::clone(&self.keeper);
            let suspects = task::spawn_blocking(move || keeper.suspects(batch)).await;
            let suspects = suspects.map_err(|_panicked| StoreError::Interrupted)?;
            if suspects.is_empty() {
                continue;
            }
            let keeper = Arc::clone(&self.keeper);
            // In the one writer, so that nobody takes one away or brings it meanwhile.
            self.db().write_alone(move |connection| keeper.confirm(connection, &suspects)).await?;
        }
    }
}

impl Keeper {
    /// Tells whether there is room.
    pub(super) fn look_for_room(&self) {
        if let Err(error) = self.space.tend() {
            warn!(error = &error as &dyn std::error::Error, "the room on the disk isn't known");
        }
        if self.space.is_low() {
            self.hub.raise(Condition::DiskFull, self.space.explain());
        } else {
            self.hub.clear(Condition::DiskFull);
        }
    }

    /// Tells of contents that nobody refers to.
    pub(super) fn count_lost(&self) {
        match self.contents.lost() {
            Ok(lost) if lost.count == 0 => self.hub.clear(Condition::LostContents),
            Ok(lost) => self.hub.raise(
                Condition::LostContents,
                format!(
                    "{} contents ({} bytes) that no file has are kept in contents/lost: of uploads that were interrupted \
                     before they were acknowledged, or of files that the catalogue has lost; `grapevine fsck` lists them",
                    lost.count, lost.bytes
                ),
            ),
            Err(error) => warn!(error = &error as &dyn std::error::Error, "lost contents can't be counted"),
        }
    }

    fn suspects(&self, batch: Vec<(ContentHash, u64)>) -> Vec<(ContentHash, u64)> {
        let has_fault = |(hash, size_bytes): &(ContentHash, u64)| self.contents.fault(*hash, *size_bytes).is_some();
        batch.into_iter().filter(has_fault).collect()
    }

    fn confirm(&self, connection: &Connection, suspects: &[(ContentHash, u64)]) -> Result<(), StoreError> {
        let mut faults = Vec::new();
        for (hash, size_bytes) in suspects {
            if let Some(fault) = self.contents.fault(*hash, *size_bytes)
                && metadata::is_used(connection, *hash)?
            {
                faults.push((*hash, fault));
            }
        }
        self.faults.found(&faults);
        Ok(())
    }
}

//! What the store does by itself while it is open: it looks for contents that are missing, for room on the disk, whether
//! its files are still where they were, and whether peers know later versions than it does.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use shared::ids::ContentHash;
use shared::wire::condition::Condition;
use tokio::task;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::shutdown::Tasks;
use crate::store::error::StoreError;
use crate::store::faults::Found;
use crate::store::{Keeper, Store, metadata};

/// How often the room on the disk is looked at. Uploads look themselves.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After how many looks at the disk the lost contents are counted again: somebody may have taken care of them.
const LOOKS_PER_COUNT: u32 = 60;
/// After how many looks at the disk the catalogue is compared with what peers know.
const LOOKS_PER_COMPARISON: u32 = 5;
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
            let (keeper, db) = (Arc::clone(&self.keeper), self.db().clone());
            let looked = task::spawn_blocking(move || {
                keeper.look_for_room();
                keeper.tell_displaced(db.displaced());
                if look.is_multiple_of(LOOKS_PER_COUNT) {
                    keeper.count_lost();
                }
            });
            // A panic has been reported by the runtime.
            drop(looked.await);
            if look.is_multiple_of(LOOKS_PER_COMPARISON)
                && let Err(error) = self.look_for_overtaken().await
            {
                warn!(error = &error as &dyn std::error::Error, "the catalogue couldn't be compared with the peers");
            }
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
        let tended = self.space.tend();
        let mut outage = self.room_outage.lock().unwrap_or_else(PoisonError::into_inner);
        match tended {
            Ok(()) => {
                outage.over(Instant::now()).into_iter().for_each(|text| info!("the disk's room is seen to: {text}"));
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                if let Some(text) = outage.failed(&format!("{error}: {cause}"), Instant::now()) {
                    warn!("the disk's room can't be seen to: {text}");
                }
            }
        }
        drop(outage);
        if self.space.is_low() {
            self.hub.raise(Condition::DiskFull, self.space.explain());
        } else {
            self.hub.clear(Condition::DiskFull);
        }
    }

    /// Tells whether the catalogue's file, or what keeps a second server out, isn't where it was any more.
    fn tell_displaced(&self, catalogue: Option<&Path>) {
        match catalogue {
            None => self.hub.clear(Condition::CatalogueDisplaced),
            Some(path) => self.hub.raise(
                Condition::CatalogueDisplaced,
                format!(
                    "{} was moved, replaced or removed while the server ran: nothing can be changed, and what came last \
                     may be gone when it stops. Put back what was there, or stop the server and look (`grapevine fsck`)",
                    path.display()
                ),
            ),
        }
        match self.lock.displaced() {
            None => self.hub.clear(Condition::LockDisplaced),
            Some(path) => self.hub.raise(
                Condition::LockDisplaced,
                format!(
                    "{} was moved, replaced or removed while the server ran: a server of an earlier version wouldn't notice \
                     that the directory is in use; start this one anew",
                    path.display()
                ),
            ),
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
                let files = metadata::files_with(connection, *hash)?.join(", ");
                faults.push(Found { content: *hash, fault, files });
            }
        }
        self.faults.found(faults, |_found| true);
        Ok(())
    }
}

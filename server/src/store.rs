//! stub

use shared::wire::queue::FileEvent;
use tokio::sync::watch;
use uuid::Uuid;

/// stub
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct StoreError;

/// stub
#[derive(Debug, Clone)]
pub struct Store;

/// stub
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// stub
    pub seq: i64,
    /// stub
    pub message_id: Uuid,
    /// stub
    pub event: FileEvent,
}

#[expect(clippy::unused_async, missing_docs, clippy::missing_errors_doc, reason = "stub")]
impl Store {
    pub async fn outbox_pending(&self, _after: i64, _limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        Err(StoreError)
    }
    pub async fn outbox_sent(&self, _ids: Vec<Uuid>) -> Result<(), StoreError> {
        Err(StoreError)
    }
    pub async fn outbox_dead(&self, _id: Uuid, _reason: String) -> Result<(), StoreError> {
        Err(StoreError)
    }
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

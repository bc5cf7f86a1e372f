//! Files, versions, shares and the events about them. One call is one transaction: contents, metadata and event change
//! together or not at all.
//!
//! Why no content is lost or left: giving a content its name, writing the row that refers to it, and removing a
//! content that no row refers to all happen in jobs of the database's one writer, so none of them can come between
//! another's steps. Removing is a job of its own after the commit that made a content unused; it sees only committed
//! rows. That commit remembers what is to be removed, so that a crash in between is made up for when the store is
//! opened; what else no row refers to is kept apart, never removed.
//!
//! Long because each call is one transaction that reads as a whole; the SQL itself is in [`metadata`].

pub mod error;
pub mod faults;
mod idempotency;
pub mod metadata;
pub mod opening;
pub mod outbox;
mod overtaken;
pub mod precondition;
pub mod queues;
pub mod schema;
pub mod upkeep;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use shared::gossip::config::VERSION_STEP;
use shared::ids::{ContentHash, FileId, PeerId, UserId, Version};
use shared::stamp::{Clock, Stamp};
use shared::wire::event::{Audience, Event};
use shared::wire::queue::{ChangeKind, FileEvent};
use tokio::sync::{Semaphore, watch};
use tokio::task;
use tracing::warn;
use uuid::Uuid;

use crate::contents::Contents;
use crate::contents::error::ContentsError;
use crate::contents::fault::Fault;
use crate::contents::incoming::{Incoming, Received};
use crate::contents::outgoing::{Outgoing, Wanted};
use crate::contents::space::Space;
use crate::db::Db;
use crate::db::anchor::Anchor;
use crate::hub::Hub;
use crate::outage::Outage;
use crate::store::error::StoreError;
use crate::store::faults::{Faults, Found};
use crate::store::metadata::{FileRecord, ShareRecord, describe};
use crate::store::opening::{Opened, Place};
use crate::store::outbox::Change;
use crate::store::overtaken::Overtaken;
use crate::store::precondition::Precondition;
use crate::wall;

/// What the file is called that its opener locks, so that there is one server in a directory.
pub const LOCK: &str = "lock";

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreConfig {
    /// How much room on the disk is kept from uploads, in bytes; 0 for none.
    pub reserve_bytes: u64,
    /// Whether a new catalogue may be made beside contents and peers' state that an old one knew.
    pub new_catalogue: bool,
}

/// A received content with what its uploader said of it.
#[derive(Debug)]
pub struct NewContent {
    /// The file's name.
    pub name: String,
    /// The media type.
    pub content_type: String,
    /// The bytes.
    pub received: Received,
}

/// What an upload came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The file at its first version.
    pub file: FileRecord,
    /// Whether it was made by an earlier upload with the same key.
    pub is_repeated: bool,
}

/// An event that the broker hasn't confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the order of changes.
    pub seq: i64,
    /// Names the message, so that whoever gets it twice can tell.
    pub message_id: Uuid,
    /// What happened.
    pub event: FileEvent,
}

/// The store; clones are the same one.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    keeper: Arc<Keeper>,
}

/// What the jobs of a store share.
#[derive(Debug)]
struct Keeper {
    contents: Contents,
    space: Arc<Space>,
    /// The times that the disk's room couldn't be seen to. A lock is enough: it is held to count one.
    room_outage: Mutex<Outage>,
    faults: Faults,
    hub: Hub,
    /// This host, as the origin of changes.
    node: PeerId,
    /// A lock is enough: it is held for one tick.
    clock: Mutex<Clock>,
    outbox: watch::Sender<u64>,
    /// Who publishes again; one at a time.
    republishing: Semaphore,
    /// What keeps a second server out of the directory.
    lock: Anchor,
    /// Files that peers know later versions of. A lock is enough: it is held to look at the hub or to take note.
    overtaken: Mutex<Overtaken>,
}

impl Store {
    /// Opens the store in `dir`, makes it where it doesn't exist, and puts in order what a crash left. What is wrong with
    /// it for longer, `hub` hears. The caller makes sure that no other process has it open.
    ///
    /// # Errors
    /// When the folder or the database can't be opened, isn't whole, or is missing beside what it knew.
    pub async fn open(dir: &Path, config: StoreConfig, hub: Hub) -> Result<Self, StoreError> {
        let dir = dir.to_owned();
        let (store, forgotten) = task::spawn_blocking(move || Self::open_blocking(&dir, config, hub))
            .await
            .map_err(|_panicked| StoreError::Interrupted)??;
        store.clear_forgotten(forgotten).await;
        Ok(store)
    }

    fn open_blocking(dir: &Path, config: StoreConfig, hub: Hub) -> Result<(Self, Vec<ContentHash>), StoreError> {
        // First, for it may have to make room for the rest.
        let space = Arc::new(Space::open(dir, config.reserve_bytes));
        // Not made before it is known that the store can be opened.
        let contents = Contents::at(dir.join("contents"));
        let place = Place { dir, contents: &contents, space: &space, new_catalogue: config.new_catalogue };
        let (db, Opened { node, last, forgotten }) = opening::open(place)?;
        let keeper = Keeper {
            contents,
            space,
            room_outage: Mutex::default(),
            faults: Faults::new(hub.clone()),
            hub,
            node,
            clock: Mutex::new(Clock::after(last)),
            outbox: watch::Sender::new(0),
            republishing: Semaphore::new(1),
            lock: Anchor::of([dir.join(LOCK)]),
            overtaken: Mutex::default(),
        };
        keeper.look_for_room();
        keeper.count_lost();
        Ok((Self { db, keeper: Arc::new(keeper) }, forgotten))
    }

    /// Puts everything on the disk into files that can be copied, and closes the database, within `limit`.
    pub async fn close(&self, limit: Duration) {
        self.db.close(limit).await;
    }

    /// This host, as the origin of changes.
    pub fn node(&self) -> PeerId {
        self.keeper.node
    }

    /// Whether catalogue and contents can be written.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), StoreError> {
        let keeper = Arc::clone(&self.keeper);
        self.db.write(move |_connection| Ok(keeper.contents.check()?)).await
    }

    /// Whether an upload of `bytes` bytes, as far as they are known, may begin.
    ///
    /// # Errors
    /// [`ContentsError::NoRoom`], or when the disk fails.
    pub async fn admit(&self, bytes: u64) -> Result<(), StoreError> {
        let space = Arc::clone(&self.keeper.space);
        let admitted = task::spawn_blocking(move || space.admit(bytes)).await;
        Ok(admitted.map_err(|_panicked| StoreError::Interrupted)??)
    }

    /// Begins to take a content of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn receive(&self, bytes_max: u64) -> Result<Incoming, StoreError> {
        Ok(self.keeper.contents.receive(bytes_max, Arc::clone(&self.keeper.space)).await?)
    }

    /// Opens a version's content, or a part of it, for reading. A small one is checked by then, a larger one while it is
    /// read (see [`outgoing`](crate::contents::outgoing)). One that was found to be missing or damaged isn't opened again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the file was deleted meanwhile, [`ContentsError::Bad`] when the content isn't
    /// what was stored, or that the disk failed.
    pub async fn open_content(&self, file: &FileRecord, part: Range<u64>) -> Result<Outgoing, StoreError> {
        let hash = file.content.ok_or(StoreError::NotFound)?;
        if let Some(fault) = self.keeper.faults.of(hash) {
            return Err(ContentsError::Bad(fault).into());
        }
        let opened = self.keeper.contents.read(Wanted { hash, size_bytes: file.size_bytes, part }).await;
        if let Err(ContentsError::Bad(fault)) = opened {
            if fault == Fault::Missing && !self.db.read(move |connection| metadata::is_used(connection, hash)).await? {
                return Err(StoreError::NotFound);
            }
            self.keeper.found_bad(file, hash, fault);
        }
        Ok(opened?)
    }

    /// Tells of a content that turned out to be bad while it was read.
    pub fn report_content(&self, file: &FileRecord, error: &ContentsError) {
        if let (Some(hash), ContentsError::Bad(fault)) = (file.content, error) {
            self.keeper.found_bad(file, hash, *fault);
        } else {
            warn!(error = error as &dyn std::error::Error, file.id = %file.id, "a download broke off");
        }
    }

    /// Adds a new file of `owner`'s, unless she made it already under `key`.
    ///
    /// # Errors
    /// When `key` named another upload, or database or disk fail; then nothing is left.
    pub async fn create(&self, owner: UserId, new: NewContent, key: Option<String>) -> Result<Created, StoreError> {
        let hash = new.received.hash;
        let keeper = Arc::clone(&self.keeper);
        let done = self.db.write(move |connection| keeper.create_once(connection, owner, new, key.as_deref())).await;
        let created = self.settle(done, &[hash]).await?;
        if !created.is_repeated {
            self.tell(ChangeKind::Uploaded, &created.file, Vec::new());
        }
        Ok(created)
    }

    /// Makes the next version of a file.
    ///
    /// # Errors
    /// When `user` may not do that, the file is at another version, or database or disk fail; then nothing is left.
    pub async fn replace(
        &self,
        file: FileId,
        user: UserId,
        precondition: Precondition,
        new: NewContent,
    ) -> Result<FileRecord, StoreError> {
        let hash = new.received.hash;
        let keeper = Arc::clone(&self.keeper);
        let replace = move |connection: &Connection| {
            let former = owned(connection, &file, &user, &precondition)?;
            Ok((keeper.replace(connection, former, new)?, metadata::targets(connection, &file)?))
        };
        let done = self.db.write(replace).await;
        let (file, shared_with) = self.settle(done, &[hash]).await?;
        self.tell(ChangeKind::Updated, &file, shared_with);
        Ok(file)
    }

    /// Makes a tombstone of a file and forgets all its contents that no other file uses.
    ///
    /// # Errors
    /// When `user` may not do that, the file is at another version, or the database fails.
    pub async fn delete(
        &self,
        file: FileId,
        user: UserId,
        precondition: Precondition,
    ) -> Result<FileRecord, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        let delete = move |connection: &Connection| {
            let former = owned(connection, &file, &user, &precondition)?;
            let shared_with = metadata::targets(connection, &file)?;
            Ok((keeper.delete(connection, former)?, shared_with))
        };
        let done = self.db.write(delete).await;
        let ((tombstone, contents), shared_with) = self.settle(done, &[]).await?;
        self.tell(ChangeKind::Deleted, &tombstone, shared_with);
        self.forget_unused(contents).await;
        Ok(tombstone)
    }

    /// A version of a file, the latest by default, if `user` may see it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] also when she may not.
    pub async fn file(&self, file: FileId, user: UserId, version: Option<Version>) -> Result<FileRecord, StoreError> {
        let find = move |connection: &Connection| {
            let latest = visible(connection, &file, &user)?;
            match version {
                Some(version) => metadata::version(connection, &file, version)?.ok_or(StoreError::NotFound),
                None => Ok(latest),
            }
        };
        self.db.read(find).await
    }

    /// The versions of a file, the newest first, at most `limit` of those before `before`; and which is the latest.
    ///
    /// # Errors
    /// As [`Store::file`].
    pub async fn history(
        &self,
        file: FileId,
        user: UserId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<(Version, Vec<FileRecord>), StoreError> {
        let find = move |connection: &Connection| {
            let latest = visible(connection, &file, &user)?.version;
            Ok((latest, metadata::history(connection, &file, before, limit)?))
        };
        self.db.read(find).await
    }

    /// The files that `user` owns or that were shared with her, the newest first, at most `limit` of those that are
    /// older than `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, user: UserId, after: Option<FileId>, limit: u32) -> Result<Vec<FileRecord>, StoreError> {
        self.db.read(move |connection| Ok(metadata::list(connection, &user, after.as_ref(), limit)?)).await
    }

    /// Lets `target` see a file. Gives the share, also where there was one already.
    ///
    /// # Errors
    /// When `user` doesn't own the file, `target` does, or the database fails.
    pub async fn share(&self, file: FileId, user: UserId, target: UserId) -> Result<ShareRecord, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        let share = move |connection: &Connection| {
            let known = owned(connection, &file, &user, &Precondition::ANY)?;
            Ok((keeper.share(connection, known, target)?, metadata::targets(connection, &file)?))
        };
        let done = self.db.write(share).await;
        let ((share, news), shared_with) = self.settle(done, &[]).await?;
        if let Some(file) = news {
            self.tell(ChangeKind::Shared, &file, shared_with);
        }
        Ok(share)
    }

    /// With whom a file is shared.
    ///
    /// # Errors
    /// When `user` doesn't own the file, or the database fails.
    pub async fn shares(&self, file: FileId, user: UserId) -> Result<Vec<ShareRecord>, StoreError> {
        let find = move |connection: &Connection| {
            owned(connection, &file, &user, &Precondition::ANY)?;
            Ok(metadata::shares(connection, &file)?)
        };
        self.db.read(find).await
    }

    /// Ends a share.
    ///
    /// # Errors
    /// When `user` doesn't own the file, it isn't shared with `target`, or the database fails.
    pub async fn unshare(&self, file: FileId, user: UserId, target: UserId) -> Result<(), StoreError> {
        let unshare = move |connection: &Connection| {
            owned(connection, &file, &user, &Precondition::ANY)?;
            metadata::remove_share(connection, &file, &target)?.then_some(()).ok_or(StoreError::NotFound)
        };
        self.db.write(unshare).await
    }

    fn db(&self) -> &Db {
        &self.db
    }

    fn outbox_sender(&self) -> &watch::Sender<u64> {
        &self.keeper.outbox
    }

    /// Tells who watches of a change that is on the disk now.
    fn tell(&self, change: ChangeKind, file: &FileRecord, shared_with: Vec<UserId>) {
        let audience = Audience { owner: Some(file.owner.clone()), shared_with };
        let (file, version, size_bytes) = (file.id.clone(), file.version, file.size_bytes);
        self.keeper.hub.emit(Event::FileStored { file, version, change, size_bytes, audience });
    }

    /// After a change: tells the relay of the new event, or removes the contents that came for nothing.
    async fn settle<T>(&self, done: Result<T, StoreError>, contents: &[ContentHash]) -> Result<T, StoreError> {
        match &done {
            Ok(_) => self.keeper.outbox.send_modify(|count| *count = count.wrapping_add(1)),
            Err(_) => self.forget_unused(contents.to_vec()).await,
        }
        done
    }

    /// Removes those of `contents` that no version refers to. What fails here is left to the next start.
    async fn forget_unused(&self, contents: Vec<ContentHash>) {
        if contents.is_empty() {
            return;
        }
        let keeper = Arc::clone(&self.keeper);
        let forget = move |connection: &Connection| -> Result<(), StoreError> {
            for hash in contents {
                if !metadata::is_used(connection, hash)? {
                    keeper.contents.forget(hash)?;
                    keeper.faults.gone(hash);
                }
                metadata::remove_forgotten(connection, hash)?;
            }
            Ok(())
        };
        if let Err(error) = self.db.write_alone(forget).await {
            warn!(error = &error as &dyn std::error::Error, "contents that nobody uses could not be removed");
        }
    }

    /// Contents whose files were seen to when the store was opened needn't be remembered any more.
    async fn clear_forgotten(&self, contents: Vec<ContentHash>) {
        if contents.is_empty() {
            return;
        }
        let clear = move |connection: &Connection| {
            contents.iter().try_for_each(|hash| metadata::remove_forgotten(connection, *hash))
        };
        if let Err(error) = self.db.write(clear).await {
            warn!(error = &error as &dyn std::error::Error, "what was forgotten is remembered until the next start");
        }
    }
}

/// The latest version of a file that `user` may see.
fn visible(connection: &Connection, file: &FileId, user: &UserId) -> Result<FileRecord, StoreError> {
    let latest = metadata::latest(connection, file)?.ok_or(StoreError::NotFound)?;
    if latest.owner == *user || metadata::share(connection, file, user)?.is_some() {
        Ok(latest)
    } else {
        Err(StoreError::NotFound)
    }
}

/// The latest version of a file that `user` owns and that is as `precondition` demands.
fn owned(
    connection: &Connection,
    file: &FileId,
    user: &UserId,
    precondition: &Precondition,
) -> Result<FileRecord, StoreError> {
    let latest = visible(connection, file, user)?;
    if latest.owner != *user {
        return Err(StoreError::NotOwner);
    }
    precondition.check(latest.version)?;
    Ok(latest)
}

/// The jobs: each runs in the database's writer, inside one transaction.
impl Keeper {
    /// A content of `file` was found to be bad when it was read.
    fn found_bad(&self, file: &FileRecord, hash: ContentHash, fault: Fault) {
        let found = Found { content: hash, fault, files: describe(&file.id, file.version, &file.name) };
        // The reader may have been slow: the content may have come anew since it was opened.
        self.faults.found(vec![found], |found| self.contents.still_has(found.fault, hash, file.size_bytes));
    }

    fn create_once(
        &self,
        connection: &Connection,
        owner: UserId,
        new: NewContent,
        key: Option<&str>,
    ) -> Result<Created, StoreError> {
        let Some(key) = key else {
            return Ok(Created { file: self.create(connection, owner, new)?, is_repeated: false });
        };
        if let Some(file) = idempotency::first_answer(connection, (&owner, key), &new)? {
            if metadata::is_used(connection, new.received.hash)? {
                // Of what has lain here since nobody knows whether it is right still.
                self.keep(new.received)?;
            }
            return Ok(Created { file, is_repeated: true });
        }
        let fingerprint = new.fingerprint();
        let file = self.create(connection, owner, new)?;
        idempotency::remember(connection, key, fingerprint, &file)?;
        Ok(Created { file, is_repeated: false })
    }

    fn create(&self, connection: &Connection, owner: UserId, new: NewContent) -> Result<FileRecord, StoreError> {
        let id = Uuid::now_v7().to_string().parse().map_err(|_invalid| StoreError::Interrupted)?;
        let file = new.first_version(id, owner, wall::now_ms());
        self.keep(new.received)?;
        metadata::insert_file(connection, &file)?;
        self.add_version(connection, &file, ChangeKind::Uploaded)?;
        Ok(file)
    }

    fn replace(&self, connection: &Connection, former: FileRecord, new: NewContent) -> Result<FileRecord, StoreError> {
        let file = FileRecord {
            name: new.name,
            content_type: new.content_type,
            size_bytes: new.received.size_bytes,
            content: Some(new.received.hash),
            sha256: Some(new.received.sha256),
            ..self.next(connection, former, false)?
        };
        self.keep(new.received)?;
        self.add_version(connection, &file, ChangeKind::Updated)?;
        Ok(file)
    }

    fn delete(
        &self,
        connection: &Connection,
        former: FileRecord,
    ) -> Result<(FileRecord, Vec<ContentHash>), StoreError> {
        let file = FileRecord { size_bytes: 0, content: None, sha256: None, ..self.next(connection, former, true)? };
        let contents = metadata::forget_contents(connection, &file.id)?;
        metadata::insert_forgotten(connection, &contents, wall::now_ms())?;
        self.add_version(connection, &file, ChangeKind::Deleted)?;
        Ok((file, contents))
    }

    /// The share, and the file where it is new.
    fn share(
        &self,
        connection: &Connection,
        file: FileRecord,
        target: UserId,
    ) -> Result<(ShareRecord, Option<FileRecord>), StoreError> {
        if target == file.owner {
            return Err(StoreError::SharedWithOwner);
        }
        if let Some(share) = metadata::share(connection, &file.id, &target)? {
            return Ok((share, None));
        }
        let share = ShareRecord { id: Uuid::now_v7().to_string(), target: target.clone() };
        metadata::insert_share(connection, &file.id, &share, wall::now_ms())?;
        let (kind, stamp, origin) = (ChangeKind::Shared, self.tick(), self.node);
        outbox::add(connection, Change { kind, file: &file, stamp, origin, target: Some(target) })?;
        Ok((share, Some(file)))
    }

    fn keep(&self, received: Received) -> Result<(), StoreError> {
        let hash = received.hash;
        self.contents.keep(received)?;
        self.faults.gone(hash);
        Ok(())
    }

    /// The version after `former`, which it replaces from now on. Past what peers know already, since one that isn't they
    /// would never take; but not so far that a newcomer wouldn't.
    fn next(&self, connection: &Connection, former: FileRecord, deleted: bool) -> Result<FileRecord, StoreError> {
        let known = self.hub.read(|overview| overview.files.get(&former.id).map(|view| view.version));
        let known = known.filter(|known| known.0 < VERSION_STEP);
        let latest = known.map_or(former.version, |known| known.max(former.version));
        let version = latest.next().ok_or(StoreError::NoMoreVersions)?;
        if !metadata::advance(connection, &former.id, former.version, (version, deleted))? {
            return Err(StoreError::VersionMismatch { current: former.version });
        }
        Ok(FileRecord { version, stored_ms: wall::now_ms(), ..former })
    }

    fn add_version(&self, connection: &Connection, file: &FileRecord, kind: ChangeKind) -> Result<(), StoreError> {
        let stamp = self.tick();
        metadata::insert_version(connection, file, stamp)?;
        outbox::add(connection, Change { kind, file, stamp, origin: self.node, target: None })?;
        Ok(())
    }

    fn tick(&self) -> Stamp {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).tick(wall::now_ms())
    }
}

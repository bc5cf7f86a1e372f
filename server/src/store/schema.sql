-- The catalogue and the outbox. Times are milliseconds since 1970; ids and hashes are text as the API prints them.
-- This is what a new catalogue is made of (version 1, see schema.rs); what is changed here is a step for former ones, too.

-- What this host is: its id as the origin of changes.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A file and its latest version. A deleted one stays as a tombstone.
CREATE TABLE files (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX files_by_owner ON files (owner, id) WHERE deleted = 0;

-- Every version of every file. Without content: a tombstone, or a version of a deleted file.
CREATE TABLE versions (
    file TEXT NOT NULL REFERENCES files (id),
    version INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    content TEXT,
    sha256 BLOB,
    stored_ms INTEGER NOT NULL,
    PRIMARY KEY (file, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX versions_by_content ON versions (content) WHERE content IS NOT NULL;
CREATE INDEX versions_by_stamp ON versions (stamp);

CREATE TABLE shares (
    id TEXT PRIMARY KEY,
    file TEXT NOT NULL REFERENCES files (id),
    target TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (file, target)
) STRICT;
CREATE INDEX shares_by_target ON shares (target, file);

-- Contents that a change left without use, and when: their files are being removed.
CREATE TABLE forgotten (
    content TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Uploads that named a key, so that a repeated one is answered by the first. Bounded in age and number.
CREATE TABLE idempotency (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    file TEXT NOT NULL REFERENCES files (id),
    created_ms INTEGER NOT NULL,
    UNIQUE (user, key)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (created_ms);

-- Events for the broker, written with the change that caused them; gone when the broker has them.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    dead_reason TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (seq) WHERE dead_reason IS NULL;
CREATE INDEX outbox_dead ON outbox (seq) WHERE dead_reason IS NOT NULL;

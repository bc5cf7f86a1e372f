-- What a catalogue of before there were versions may lack of version 1. Not to be changed any more.

-- Contents that a change left without use, and when: their files are being removed.
CREATE TABLE IF NOT EXISTS forgotten (
    content TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Uploads that named a key, so that a repeated one is answered by the first. Bounded in age and number.
CREATE TABLE IF NOT EXISTS idempotency (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    file TEXT NOT NULL REFERENCES files (id),
    created_ms INTEGER NOT NULL,
    UNIQUE (user, key)
) STRICT;
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created_ms);

CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (seq) WHERE dead_reason IS NULL;

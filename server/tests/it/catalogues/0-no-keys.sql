-- Of the second schema: without keys of uploads.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('node','4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84');
CREATE TABLE files (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;
INSERT INTO files VALUES('01a22169-b558-7066-ba35-05f2529066e3','alice',2,0,1795856905560);
INSERT INTO files VALUES('01a22169-b722-73df-a9b3-3f3abc425c3c','alice',1,0,1795856906018);
INSERT INTO files VALUES('01a22169-b815-7568-b232-1e6196e80813','alice',2,1,1795856906262);
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
INSERT INTO versions VALUES('01a22169-b558-7066-ba35-05f2529066e3',1,117693278162780160,'a.txt','text/plain',3,'d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492',X'7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed',1795856905560);
INSERT INTO versions VALUES('01a22169-b558-7066-ba35-05f2529066e3',2,117693278189715456,'a.txt','text/plain',3,'dc770fff53f50835f8cc957e01c0d5731d3c2ed544c375493a28c09be5e09763',X'3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3',1795856905971);
INSERT INTO versions VALUES('01a22169-b722-73df-a9b3-3f3abc425c3c',1,117693278193123328,'shared.txt','text/plain',6,'a467e725fca45e7f4f76584b35b39d718cd43c8c79e34e880045c54f8895eabd',X'a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa',1795856906018);
INSERT INTO versions VALUES('01a22169-b815-7568-b232-1e6196e80813',1,117693278208851968,'gone.txt','text/plain',4,NULL,NULL,1795856906262);
INSERT INTO versions VALUES('01a22169-b815-7568-b232-1e6196e80813',2,117693278227529728,'gone.txt','text/plain',0,NULL,NULL,1795856906547);
CREATE TABLE shares (
    id TEXT PRIMARY KEY,
    file TEXT NOT NULL REFERENCES files (id),
    target TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (file, target)
) STRICT;
INSERT INTO shares VALUES('01a22169-b7f8-7471-953d-b809f8af7946','01a22169-b722-73df-a9b3-3f3abc425c3c','bob',1795856906232);
CREATE TABLE forgotten (
    content TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    dead_reason TEXT
) STRICT;
INSERT INTO outbox VALUES(1,'01a22169-b558-7066-ba35-05f3b12856e1','{"event":"file.uploaded","file_id":"01a22169-b558-7066-ba35-05f2529066e3","version":1,"ts":117693278162780160,"origin":"4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84","name":"a.txt","owner":"alice","size_bytes":3,"content_hash":"d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492"}',1795856905560,NULL);
INSERT INTO outbox VALUES(2,'01a22169-b6f3-7738-bdce-2e8822971174','{"event":"file.updated","file_id":"01a22169-b558-7066-ba35-05f2529066e3","version":2,"ts":117693278189715456,"origin":"4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84","name":"a.txt","owner":"alice","size_bytes":3,"content_hash":"dc770fff53f50835f8cc957e01c0d5731d3c2ed544c375493a28c09be5e09763"}',1795856905971,NULL);
INSERT INTO outbox VALUES(3,'01a22169-b727-7787-9bf6-635dab37f886','{"event":"file.uploaded","file_id":"01a22169-b722-73df-a9b3-3f3abc425c3c","version":1,"ts":117693278193123328,"origin":"4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84","name":"shared.txt","owner":"alice","size_bytes":6,"content_hash":"a467e725fca45e7f4f76584b35b39d718cd43c8c79e34e880045c54f8895eabd"}',1795856906023,NULL);
INSERT INTO outbox VALUES(4,'01a22169-b7f8-7471-953d-b80a29fddb64','{"event":"file.shared","file_id":"01a22169-b722-73df-a9b3-3f3abc425c3c","version":1,"ts":117693278206820352,"origin":"4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84","name":"shared.txt","owner":"alice","size_bytes":6,"content_hash":"a467e725fca45e7f4f76584b35b39d718cd43c8c79e34e880045c54f8895eabd","target":"bob"}',1795856906232,NULL);
INSERT INTO outbox VALUES(5,'01a22169-b817-74bd-a272-7bdd15339f2b','{"event":"file.uploaded","file_id":"01a22169-b815-7568-b232-1e6196e80813","version":1,"ts":117693278208851968,"origin":"4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84","name":"gone.txt","owner":"alice","size_bytes":4,"content_hash":"afae16e5c35fafc0bb2c5333310842c4b11e4d3946d9e09df5c194047375d47e"}',1795856906263,NULL);
INSERT INTO outbox VALUES(6,'01a22169-b934-70c7-8fcc-f11f49f3d064','{"event":"file.deleted","file_id":"01a22169-b815-7568-b232-1e6196e80813","version":2,"ts":117693278227529728,"origin":"4e50eec9947cd8de7c14f9420580a2cd639e8d1f71e211e5ba34a41c62d62d84","name":"gone.txt","owner":"alice","size_bytes":0}',1795856906548,NULL);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('outbox',6);
CREATE INDEX files_by_owner ON files (owner, id) WHERE deleted = 0;
CREATE INDEX versions_by_content ON versions (content) WHERE content IS NOT NULL;
CREATE INDEX versions_by_stamp ON versions (stamp);
CREATE INDEX shares_by_target ON shares (target, file);
CREATE INDEX outbox_pending ON outbox (seq) WHERE dead_reason IS NULL;
CREATE INDEX outbox_dead ON outbox (seq) WHERE dead_reason IS NOT NULL;
COMMIT;

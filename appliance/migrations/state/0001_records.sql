-- What is wanted: one table a noun, one JSON document a record. `name` is
-- beside the document because lists sort by it and most nouns have it once.

CREATE TABLE about (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    version TEXT NOT NULL           -- of the program that last opened the file
) STRICT;

CREATE TABLE applied (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    entry      TEXT,                -- JSON: the last log entry that is in here
    membership TEXT,                -- JSON: the last membership that is in here
    revision   INTEGER NOT NULL     -- grows with every change
) STRICT;

INSERT INTO about (only, version) VALUES (1, '');
INSERT INTO applied (only, revision) VALUES (1, 0);

CREATE TABLE site    (id TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;

CREATE TABLE node    (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE user    (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE token   (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE session (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE network (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE pool    (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE volume  (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE image   (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE vm      (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;
CREATE TABLE job     (id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL) STRICT;

CREATE UNIQUE INDEX node_name    ON node (name);
CREATE UNIQUE INDEX user_name    ON user (name);
CREATE UNIQUE INDEX network_name ON network (name);
CREATE UNIQUE INDEX pool_name    ON pool (name);
CREATE UNIQUE INDEX volume_name  ON volume (name);
CREATE UNIQUE INDEX image_name   ON image (name);
CREATE UNIQUE INDEX vm_name      ON vm (name);
CREATE INDEX token_name          ON token (name, id);
CREATE INDEX session_name        ON session (name, id);
CREATE INDEX job_name            ON job (name, id);

CREATE UNIQUE INDEX token_secret   ON token (document ->> '$.secret_hash');
CREATE UNIQUE INDEX session_secret ON session (document ->> '$.secret_hash');

-- Which record needs which thing, so that "is it in use" is one look-up.
-- Derived from the documents, written with them.
CREATE TABLE link (
    role   TEXT NOT NULL,
    target TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (role, target, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_source ON link (source);

-- The raft log: what was agreed, in order, and what this node promised.

CREATE TABLE about (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    version TEXT NOT NULL,          -- of the program that last opened the file
    node    TEXT                    -- whose log it is
) STRICT;

CREATE TABLE promise (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    vote      TEXT,                 -- JSON
    committed TEXT,                 -- JSON: known to be agreed; may lag behind
    purged    TEXT                  -- JSON: the last entry that was removed after a snapshot
) STRICT;

CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    document TEXT NOT NULL          -- JSON
) STRICT;

INSERT INTO about (only, version) VALUES (1, '');
INSERT INTO promise (only) VALUES (1);

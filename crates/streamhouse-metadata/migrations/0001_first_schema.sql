-- Facts that exist once.
CREATE TABLE store (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    cluster_id    TEXT    NOT NULL,
    next_producer INTEGER NOT NULL,
    -- Segments stamped below are refused: the garbage collector may have deleted their objects.
    floor_ms      INTEGER NOT NULL,
    -- Objects that the index refers to, and their bytes.
    objects       INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    pings         INTEGER NOT NULL
) STRICT;

CREATE TABLE topics (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    partitions INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: an id is never given twice, so rows of a deleted partition join no later one.
CREATE TABLE partitions (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    log_start      INTEGER NOT NULL,
    high_watermark INTEGER NOT NULL,
    -- The greatest timestamp of its records; -1 while none has one.
    max_timestamp_ms INTEGER NOT NULL,
    UNIQUE (topic, partition)
) STRICT;

-- The rows of deleted partitions are swept away in small steps.
CREATE TABLE doomed (
    partition INTEGER PRIMARY KEY
) STRICT;

-- Whoever inserts the key first decides the segment's fate.
CREATE TABLE segments (
    id       TEXT    PRIMARY KEY,
    state    TEXT    NOT NULL CHECK (state IN ('live', 'dead')),
    object   TEXT    NOT NULL,
    bytes    INTEGER NOT NULL,
    -- How many index rows lie in the object.
    refs     INTEGER NOT NULL,
    -- What the commit answered, so that it can be repeated for a day.
    outcomes TEXT,
    committed_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX answered ON segments (committed_ms) WHERE outcomes IS NOT NULL;

-- A row is one run of consecutive accepted batches of one partition, within one block. It keeps its
-- rowid: the rows of a commit then lie together at the table's end, and only the small entries of
-- the key are spread over the partitions (measured: half the log, 19 ms in place of 33 for a commit
-- to 1,000 partitions).
CREATE TABLE runs (
    partition        INTEGER NOT NULL,
    base_offset      INTEGER NOT NULL,
    next_offset      INTEGER NOT NULL,
    segment          TEXT    NOT NULL,
    block_position   INTEGER NOT NULL,
    block_length     INTEGER NOT NULL,
    block_crc        INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    length           INTEGER NOT NULL,
    max_timestamp_ms INTEGER NOT NULL,
    -- The greatest timestamp from the partition's first run up to this one. It never falls from
    -- run to run, so the key finds times by halving: no index of times is to be written.
    reached_ms       INTEGER NOT NULL,
    append_time_ms   INTEGER NOT NULL,
    PRIMARY KEY (partition, base_offset)
) STRICT;

-- Producers whose epoch was raised on request; all others are at 0.
CREATE TABLE producers (
    id    INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;

-- What idempotence needs to know of one producer in one partition.
CREATE TABLE sequences (
    partition  INTEGER NOT NULL,
    producer   INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    -- The last batches: [[first sequence, last sequence, offset], …], oldest first.
    batches    TEXT    NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (partition, producer)
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    id          INTEGER PRIMARY KEY,
    incarnation TEXT    NOT NULL UNIQUE,
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL,
    UNIQUE (host, port)
) STRICT;

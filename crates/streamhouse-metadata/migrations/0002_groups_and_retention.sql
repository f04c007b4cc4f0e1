-- Owner epochs of groups are given once in the whole store: a group that was deleted and created
-- again lets no earlier owner in. Generations of a created group begin above all of deleted ones.
ALTER TABLE store ADD COLUMN next_epoch       INTEGER NOT NULL DEFAULT 1;
ALTER TABLE store ADD COLUMN first_generation INTEGER NOT NULL DEFAULT 0;

-- NULL: as the broker's default says; -1: without limit.
ALTER TABLE topics ADD COLUMN retention_ms    INTEGER;
ALTER TABLE topics ADD COLUMN retention_bytes INTEGER;

-- Bytes of all record batches from the partition's beginning to the end of the run or of the log,
-- removed ones included: the bytes between two runs are a difference.
ALTER TABLE runs       ADD COLUMN end_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE partitions ADD COLUMN end_bytes INTEGER NOT NULL DEFAULT 0;

-- When runs were removed, runs.reached_ms of the others may be too great. Those from the run at
-- recheck_from on are yet to be looked at, and none before recheck_to can end the search. NULL:
-- all are right.
ALTER TABLE partitions ADD COLUMN recheck_from INTEGER;
ALTER TABLE partitions ADD COLUMN recheck_to   INTEGER;

CREATE INDEX unfinished_trims ON partitions (id) WHERE recheck_from IS NOT NULL;

UPDATE runs SET end_bytes = sums.total
FROM (SELECT rowid AS run, sum(length) OVER (PARTITION BY partition ORDER BY base_offset) AS total
      FROM runs) AS sums
WHERE runs.rowid = sums.run;

UPDATE partitions SET end_bytes = coalesce(
    (SELECT runs.end_bytes FROM runs WHERE runs.partition = partitions.id
     ORDER BY base_offset DESC LIMIT 1), 0);

-- Objects that no record refers to, those first whose answers need not be repeated any more.
CREATE INDEX unused ON segments ((outcomes IS NOT NULL), id) WHERE refs = 0;

-- AUTOINCREMENT: an id is never given twice, so offsets of a deleted group join no later one.
CREATE TABLE consumer_groups (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE,
    epoch         INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    protocol_type TEXT    NOT NULL,
    members       INTEGER NOT NULL,
    -- When it last had members or committed an offset.
    active_ms     INTEGER NOT NULL
) STRICT;

CREATE INDEX idle_groups ON consumer_groups (active_ms) WHERE members = 0;

CREATE TABLE offsets (
    consumer_group INTEGER NOT NULL,
    -- The key of the partition: a topic created again has other ones.
    partition      INTEGER NOT NULL,
    -- The offset of the next record to consume.
    next_offset    INTEGER NOT NULL,
    leader_epoch   INTEGER NOT NULL,
    metadata       TEXT    NOT NULL,
    committed_ms   INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, partition)
) STRICT, WITHOUT ROWID;

CREATE INDEX consumers ON offsets (partition);

-- The offsets of deleted groups are swept away in small steps.
CREATE TABLE doomed_groups (
    consumer_group INTEGER PRIMARY KEY
) STRICT;

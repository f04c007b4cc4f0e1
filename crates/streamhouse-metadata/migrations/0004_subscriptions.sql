-- The topics that the last members subscribed to, a JSON array of names; NULL: not known.
ALTER TABLE consumer_groups ADD COLUMN subscribed    TEXT;
-- When the last generation began: what was committed later in a group without members was set from
-- outside. NULL: not known.
ALTER TABLE consumer_groups ADD COLUMN generation_ms INTEGER;
-- When the group last committed an offset, whatever became of that offset; NULL: never.
ALTER TABLE consumer_groups ADD COLUMN committed_ms  INTEGER;

UPDATE consumer_groups SET committed_ms =
    (SELECT max(committed_ms) FROM offsets WHERE offsets.consumer_group = consumer_groups.id);

-- A segment's row may outlive its object: the answer of its commit is kept for a day, the object only
-- as long as records lie in it. The name '' stands for an object that is deleted.
DROP INDEX unused;
CREATE INDEX unused ON segments (id) WHERE refs = 0 AND object <> '';

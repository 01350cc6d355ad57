-- Variables: what they are for, who wrote them, how many a scope has; and what scripts were answered, for repeated calls.

ALTER TABLE variables ADD COLUMN description TEXT;
ALTER TABLE variables ADD COLUMN updated_by TEXT;

-- `floor` is the highest version among those deleted: a key that comes back goes on above it.
CREATE TABLE variable_scopes (
    scope TEXT NOT NULL PRIMARY KEY,
    variables INTEGER NOT NULL,
    floor INTEGER NOT NULL
) STRICT;

INSERT INTO variable_scopes (scope, variables, floor) SELECT scope, COUNT(*), 0 FROM variables GROUP BY scope;

CREATE TABLE runtime_answers (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (job_id, attempt, key)
) STRICT;

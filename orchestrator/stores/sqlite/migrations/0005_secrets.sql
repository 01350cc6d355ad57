-- Secrets: what is known of each, their values under encryption, and which attempt has which version of which.

CREATE TABLE secrets (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_used_at INTEGER,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

-- A version that is not the latest stays as long as an attempt that was given it runs: what it prints is masked with it.
CREATE TABLE secret_values (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (scope, name, version)
) STRICT;

CREATE INDEX secret_values_key ON secret_values (key_id);

CREATE TABLE secret_grants (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    variable TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt, variable)
) STRICT, WITHOUT ROWID;

-- One row at most: the master key that new values are sealed with. The key itself is nowhere in the database.
CREATE TABLE secret_key (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    key_id TEXT NOT NULL
) STRICT;

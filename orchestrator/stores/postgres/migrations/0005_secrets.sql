-- Secrets: what is known of each, their values under encryption, and which attempt has which version of which.

CREATE TABLE secrets (
    scope TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_used_at BIGINT,
    PRIMARY KEY (scope, name)
);

-- A version that is not the latest stays as long as an attempt that was given it runs: what it prints is masked with it.
CREATE TABLE secret_values (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (scope, name, version)
);

CREATE INDEX secret_values_key ON secret_values (key_id);

CREATE TABLE secret_grants (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt BIGINT NOT NULL,
    variable TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (job_id, attempt, variable)
);

-- One row at most: the master key that new values are sealed with. The key itself is nowhere in the database.
CREATE TABLE secret_key (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    key_id TEXT NOT NULL
);

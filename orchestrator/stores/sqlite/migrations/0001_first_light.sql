-- Jobs, logs, journal, variables, tokens, runs and the outbox. Times are microseconds since 1970 UTC, documents are JSON.

CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    executor TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    reason TEXT,
    message TEXT,
    exit_code INTEGER,
    attempt INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    cancel_requested_at INTEGER,
    queued_ms INTEGER,
    setup_ms INTEGER,
    execution_ms INTEGER,
    cleanup_ms INTEGER,
    event_id TEXT,
    run_id TEXT,
    step TEXT,
    parent_id TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until INTEGER,
    due_at INTEGER,
    give_up_at INTEGER,
    process TEXT,
    token_digest BLOB,
    log_lines INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL,
    log_omitted INTEGER NOT NULL,
    log_cursor TEXT,
    condition INTEGER,
    progress TEXT,
    output TEXT,
    UNIQUE (run_id, step)
) STRICT;

CREATE INDEX jobs_to_claim ON jobs (queue, executor, priority DESC, created_at, number) WHERE status = 'queued';
CREATE INDEX jobs_impatient ON jobs (queue, give_up_at) WHERE status = 'queued' AND give_up_at IS NOT NULL;
CREATE INDEX jobs_leased ON jobs (owner) WHERE status = 'running';
CREATE UNIQUE INDEX jobs_token ON jobs (token_digest) WHERE token_digest IS NOT NULL;
CREATE INDEX jobs_status ON jobs (status, number);

CREATE TABLE job_documents (
    job_id TEXT NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    document TEXT NOT NULL
) STRICT;

CREATE TABLE log_chunks (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    last_seq INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (job_id, last_seq)
) STRICT;

CREATE TABLE journal (
    subject TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (subject, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE variables (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_id TEXT,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    cancel_requested_at INTEGER,
    error TEXT,
    input TEXT NOT NULL,
    output TEXT,
    document TEXT NOT NULL
) STRICT;

CREATE INDEX runs_unfinished ON runs (queue, number) WHERE status IN ('queued', 'running', 'waiting');

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    payload TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    delivered_at INTEGER,
    tries INTEGER NOT NULL,
    last_error TEXT
) STRICT;

CREATE INDEX outbox_due ON outbox (queue, due_at, id) WHERE delivered_at IS NULL;

CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    subject TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;

-- Written by `Store.check`, the only proof that writing works.
CREATE TABLE checks (
    id INTEGER NOT NULL PRIMARY KEY,
    checked_at INTEGER NOT NULL
) STRICT;

-- Jobs, logs, journal, variables, tokens, runs and the outbox. Times are microseconds since 1970 UTC, documents are JSON.

CREATE TABLE jobs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    executor TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    priority BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    reason TEXT,
    message TEXT,
    exit_code BIGINT,
    attempt BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    cancel_requested_at BIGINT,
    queued_ms BIGINT,
    setup_ms BIGINT,
    execution_ms BIGINT,
    cleanup_ms BIGINT,
    event_id TEXT,
    run_id TEXT,
    step TEXT,
    parent_id TEXT,
    fence BIGINT NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until BIGINT,
    due_at BIGINT,
    give_up_at BIGINT,
    process TEXT,
    token_digest BYTEA,
    log_lines BIGINT NOT NULL,
    log_bytes BIGINT NOT NULL,
    log_omitted BIGINT NOT NULL,
    log_cursor TEXT,
    condition BIGINT,
    progress TEXT,
    output TEXT,
    UNIQUE (run_id, step)
);

CREATE INDEX jobs_to_claim ON jobs (queue, executor, priority DESC, created_at, number) WHERE status = 'queued';
CREATE INDEX jobs_impatient ON jobs (queue, give_up_at) WHERE status = 'queued' AND give_up_at IS NOT NULL;
CREATE INDEX jobs_leased ON jobs (owner) WHERE status = 'running';
CREATE UNIQUE INDEX jobs_token ON jobs (token_digest) WHERE token_digest IS NOT NULL;
CREATE INDEX jobs_status ON jobs (status, number);

CREATE TABLE job_documents (
    job_id TEXT NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    document TEXT NOT NULL
);

CREATE TABLE log_chunks (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    last_seq BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (job_id, last_seq)
);

CREATE TABLE journal_heads (
    subject TEXT NOT NULL PRIMARY KEY,
    last_seq BIGINT NOT NULL
);

CREATE TABLE journal (
    subject TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (subject, seq)
);

CREATE TABLE variables (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    version BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    digest BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE runs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_id TEXT,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    cancel_requested_at BIGINT,
    error TEXT,
    input TEXT NOT NULL,
    output TEXT,
    document TEXT NOT NULL
);

CREATE INDEX runs_unfinished ON runs (queue, number) WHERE status IN ('queued', 'running', 'waiting');

CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    payload TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    delivered_at BIGINT,
    tries BIGINT NOT NULL,
    last_error TEXT
);

CREATE INDEX outbox_due ON outbox (queue, due_at, id) WHERE delivered_at IS NULL;

CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BYTEA NOT NULL,
    subject TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);

-- Written by `Store.check`, the only proof that writing works.
CREATE TABLE checks (
    id BIGINT NOT NULL PRIMARY KEY,
    checked_at BIGINT NOT NULL
);

-- What became of a transaction whose commit was never answered: `stores/postgres/transaction.py`.
CREATE TABLE commits (
    slot TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    written_on DATE NOT NULL DEFAULT CURRENT_DATE
) WITH (fillfactor = 50);

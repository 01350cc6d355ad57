-- Events and their schedules, concurrency keys, instances. Times are microseconds since 1970 UTC, documents are JSON.

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    anchor INTEGER NOT NULL,
    executions INTEGER NOT NULL,
    next_fire_at INTEGER,
    document TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_name ON events (name) WHERE status <> 'archived';
CREATE INDEX events_due ON events (queue, next_fire_at, number) WHERE status = 'active' AND next_fire_at IS NOT NULL;

CREATE TABLE fires (
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    fire_time INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (event_id, fire_time)
) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN given_back INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN scheduled_at INTEGER;
ALTER TABLE jobs ADD COLUMN concurrency_key TEXT;
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

DROP INDEX jobs_to_claim;
CREATE INDEX jobs_to_claim ON jobs (queue, executor, priority DESC, created_at, number)
    WHERE status = 'queued' AND held = 0;
CREATE INDEX jobs_of_key ON jobs (concurrency_key, held, priority DESC, created_at, number)
    WHERE concurrency_key IS NOT NULL AND status IN ('queued', 'running');
CREATE INDEX jobs_of_event ON jobs (event_id, number) WHERE event_id IS NOT NULL;

CREATE TABLE concurrency_keys (
    key TEXT NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    sockets TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;

ALTER TABLE outbox ADD COLUMN gave_up_at INTEGER;
-- When what was taken last had been due: it comes in that order.
ALTER TABLE outbox ADD COLUMN taken_from INTEGER;
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (queue, due_at, id) WHERE delivered_at IS NULL AND gave_up_at IS NULL;

-- Events and their schedules, concurrency keys, instances. Times are microseconds since 1970 UTC, documents are JSON.

CREATE TABLE events (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    queue TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    anchor BIGINT NOT NULL,
    executions BIGINT NOT NULL,
    next_fire_at BIGINT,
    document TEXT NOT NULL
);

CREATE UNIQUE INDEX events_name ON events (name) WHERE status <> 'archived';
CREATE INDEX events_due ON events (queue, next_fire_at, number) WHERE status = 'active' AND next_fire_at IS NOT NULL;

CREATE TABLE fires (
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    fire_time BIGINT NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (event_id, fire_time)
);

ALTER TABLE jobs ADD COLUMN given_back BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN scheduled_at BIGINT;
ALTER TABLE jobs ADD COLUMN concurrency_key TEXT;
ALTER TABLE jobs ADD COLUMN held BIGINT NOT NULL DEFAULT 0;

DROP INDEX jobs_to_claim;
CREATE INDEX jobs_to_claim ON jobs (queue, executor, priority DESC, created_at, number)
    WHERE status = 'queued' AND held = 0;
CREATE INDEX jobs_of_key ON jobs (concurrency_key, held, priority DESC, created_at, number)
    WHERE concurrency_key IS NOT NULL AND status IN ('queued', 'running');
CREATE INDEX jobs_of_event ON jobs (event_id, number) WHERE event_id IS NOT NULL;
-- Where many jobs are held, Postgres would expect as many of their keys under way, and rather read the whole table.
CREATE STATISTICS jobs_status_held (mcv) ON status, held FROM jobs;

CREATE TABLE concurrency_keys (
    key TEXT NOT NULL PRIMARY KEY
);

CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    sockets TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);

ALTER TABLE outbox ADD COLUMN gave_up_at BIGINT;
-- When what was taken last had been due: it comes in that order.
ALTER TABLE outbox ADD COLUMN taken_from BIGINT;
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (queue, due_at, id) WHERE delivered_at IS NULL AND gave_up_at IS NULL;

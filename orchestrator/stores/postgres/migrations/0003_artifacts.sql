-- Artifacts: which files a job left, and where they lie. Times are microseconds since 1970 UTC.

-- Names in the order of their bytes, whatever the database sorts by: pages go on behind a name.
CREATE TABLE artifacts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    media_type TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    place TEXT NOT NULL,
    folder TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
);

CREATE INDEX artifacts_created ON artifacts (created_at, job_id);

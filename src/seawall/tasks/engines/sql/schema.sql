-- Version 1 of the store. Times are seconds since the epoch, UTC.

CREATE TABLE jobs (
    -- AUTOINCREMENT: an id is never given twice, even when old jobs are purged.
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    function  TEXT    NOT NULL,             -- module:qualname
    arguments TEXT    NOT NULL,             -- JSON object, by parameter name
    -- scheduled, ready, running, done, retrying, dead, cancelled. No CHECK: looking a word
    -- up in a list would double the cost of an insert.
    state     TEXT    NOT NULL,
    after     INTEGER,                      -- the job that has to end first
    retries   INTEGER NOT NULL,             -- failures that are forgiven
    failures  INTEGER NOT NULL DEFAULT 0,
    attempt   INTEGER NOT NULL DEFAULT 0,   -- how often it was claimed
    enqueued  REAL    NOT NULL,
    due       REAL,                         -- NULL while it may not be claimed
    worker    TEXT,                         -- these three only while it runs
    started   REAL,
    lease     REAL,
    ended     REAL
);

-- Partial, so that a claim looks at nothing but what can be claimed, however many are done.
CREATE INDEX jobs_due   ON jobs (due, id) WHERE due IS NOT NULL;
CREATE INDEX jobs_lease ON jobs (lease)   WHERE lease IS NOT NULL;
CREATE INDEX jobs_after ON jobs (after)   WHERE state = 'scheduled' AND after IS NOT NULL;
CREATE INDEX jobs_done  ON jobs (ended)   WHERE state = 'done';

CREATE TABLE attempts (
    job       INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    worker    TEXT    NOT NULL,
    started   REAL    NOT NULL,
    ended     REAL    NOT NULL,
    outcome   TEXT    NOT NULL,             -- done, failed, lost, returned
    error     TEXT,
    message   TEXT,
    traceback TEXT,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

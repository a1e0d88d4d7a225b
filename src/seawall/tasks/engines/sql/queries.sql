-- Every statement of the SQLite engine. Lists travel as one JSON parameter, so that a
-- statement is one call into SQLite whatever its size: between two calls the writer has
-- to win Python's lock back from a busy event loop, which may take milliseconds.

-- name: last_id
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs';

-- name: enqueue
INSERT INTO jobs (id, function, arguments, state, after, retries, enqueued, due)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: note_attempts
-- Only for the worker that still holds the job: everyone else comes too late.
INSERT INTO attempts (job, number, worker, started, ended, outcome, error, message, traceback)
SELECT jobs.id, jobs.attempt, jobs.worker, jobs.started,
       json_extract(e.value, '$[4]'), json_extract(e.value, '$[2]'),
       json_extract(e.value, '$[6]'), json_extract(e.value, '$[7]'),
       json_extract(e.value, '$[8]')
FROM json_each(:ended) AS e
CROSS JOIN jobs ON jobs.id = json_extract(e.value, '$[0]')
WHERE jobs.state = 'running' AND jobs.worker = :worker
  AND jobs.attempt = json_extract(e.value, '$[1]');

-- name: end_jobs
UPDATE jobs
SET state = e.state, due = e.due, failures = failures + (e.outcome = 'failed'),
    ended = CASE WHEN e.due IS NULL THEN e.ended END,
    worker = NULL, started = NULL, lease = NULL
FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS attempt,
             json_extract(value, '$[2]') AS outcome, json_extract(value, '$[3]') AS state,
             json_extract(value, '$[4]') AS ended, json_extract(value, '$[5]') AS due
      FROM json_each(:ended)) AS e
WHERE jobs.id = e.id AND jobs.attempt = e.attempt
  AND jobs.state = 'running' AND jobs.worker = :worker;

-- name: release
-- The jobs that waited for these take their own place in the line.
UPDATE jobs SET state = 'ready', due = enqueued
WHERE state = 'scheduled' AND after IN (
    SELECT jobs.id FROM json_each(:ids) CROSS JOIN jobs ON jobs.id = value
    WHERE jobs.state IN ('done', 'retrying', 'dead', 'cancelled'));

-- name: claimable
SELECT json_group_array(json_array(
    id, function, arguments, after, retries, failures, attempt, enqueued))
FROM (SELECT * FROM jobs WHERE due <= :now ORDER BY due, id LIMIT :limit);

-- name: claim
UPDATE jobs
SET state = 'running', due = NULL, worker = :worker, started = :now, lease = :until,
    attempt = attempt + 1
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: beat
UPDATE jobs SET lease = :until
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'running' AND worker = :worker;

-- name: expired
SELECT json_group_array(id)
FROM (SELECT id FROM jobs WHERE lease <= :now ORDER BY lease LIMIT :limit);

-- name: note_lost
INSERT INTO attempts (job, number, worker, started, ended, outcome, error, message)
SELECT id, attempt, worker, started, :now, 'lost', 'lost',
       'the worker died or fell silent while the task ran'
FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: reclaim
UPDATE jobs
SET failures = failures + 1,
    state = CASE WHEN failures >= retries THEN 'dead' ELSE 'ready' END,
    due = CASE WHEN failures >= retries THEN NULL ELSE enqueued END,
    ended = CASE WHEN failures >= retries THEN :now END,
    worker = NULL, started = NULL, lease = NULL
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: ahead
SELECT (SELECT due FROM jobs WHERE due IS NOT NULL ORDER BY due LIMIT 1),
       (SELECT lease FROM jobs WHERE lease IS NOT NULL ORDER BY lease LIMIT 1);

-- name: purgeable
SELECT json_group_array(id)
FROM (SELECT id FROM jobs WHERE state = 'done' AND ended < :before ORDER BY ended LIMIT :limit);

-- name: purge_attempts
DELETE FROM attempts WHERE job IN (SELECT value FROM json_each(:ids));

-- name: purge_jobs
DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: job
SELECT id, function, arguments, state, after, retries, failures, attempt, enqueued, due,
       worker, started, lease, ended
FROM jobs WHERE id = :id;

-- name: attempts
SELECT job, number, worker, started, ended, outcome, error, message, traceback
FROM attempts WHERE job = :id ORDER BY number;

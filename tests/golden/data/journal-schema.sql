PRAGMA user_version = 3

PRAGMA application_id = 1651927396

PRAGMA journal_mode = wal

-- table attempts on attempts
CREATE TABLE attempts (
        job_id TEXT NOT NULL REFERENCES jobs (job_id),
        attempt INTEGER NOT NULL CHECK (attempt > 0),
        price_micros INTEGER,
        fingerprint TEXT NOT NULL,
        started_at REAL NOT NULL,
        accepted_at REAL,
        task_id TEXT,
        resolved_model TEXT,
        outcome TEXT NOT NULL CHECK (outcome IN ('open', 'in_doubt', 'succeeded', 'failed', 'abandoned')),
        finished_at REAL,
        reason TEXT,
        raw BLOB,
        PRIMARY KEY (job_id, attempt)
    ) STRICT, WITHOUT ROWID
    

-- table decisions on decisions
CREATE TABLE decisions (
        seq INTEGER PRIMARY KEY,
        job_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        by TEXT NOT NULL,
        verdict TEXT CHECK (verdict IN ('approved', 'rejected')),
        stars INTEGER CHECK (stars BETWEEN 0 AND 5),
        note TEXT NOT NULL,
        FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, attempt)
    ) STRICT
    

-- table events on events
CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES jobs (job_id),
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT
    

-- table jobs on jobs
CREATE TABLE jobs (
        job_id TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'submitting', 'in_doubt', 'running', 'ready', 'done', 'failed')),
        version INTEGER NOT NULL CHECK (version > 0),
        attempt INTEGER NOT NULL CHECK (attempt >= 0),
        allowance_from INTEGER NOT NULL,
        parked INTEGER NOT NULL CHECK (parked IN (0, 1)),
        task_id TEXT,
        resolved_model TEXT,
        url TEXT,
        url_expires_at REAL,
        fingerprint TEXT,
        price_micros INTEGER,
        reason TEXT,
        submitted_at REAL,
        finished_at REAL,
        path TEXT,
        size_bytes INTEGER,
        sha256 TEXT
    , unproven_micros INTEGER NOT NULL DEFAULT 0 CHECK (unproven_micros >= 0)) STRICT, WITHOUT ROWID
    

-- table meta on meta
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID

-- table timings on timings
CREATE TABLE timings (
        seq INTEGER PRIMARY KEY,
        timing_class TEXT NOT NULL,
        took_s REAL NOT NULL,
        at REAL NOT NULL
    ) STRICT
    

-- index attempts_by_task on attempts
CREATE UNIQUE INDEX attempts_by_task ON attempts (task_id) WHERE task_id IS NOT NULL

-- index attempts_held on attempts
CREATE INDEX attempts_held ON attempts (job_id) WHERE outcome IN ('open', 'in_doubt')

-- index decisions_by_clip on decisions
CREATE INDEX decisions_by_clip ON decisions (job_id, attempt)

-- index events_by_job on events
CREATE INDEX events_by_job ON events (job_id)

-- index jobs_unfinished on jobs
CREATE INDEX jobs_unfinished ON jobs (job_id) WHERE state NOT IN ('done', 'failed')

-- index timings_by_class on timings
CREATE INDEX timings_by_class ON timings (timing_class, seq)

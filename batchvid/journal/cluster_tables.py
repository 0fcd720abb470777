"""The tables that machines share beside the journals: accounts, workers, paces, sums, halts and orphans.

What has to be true of money is kept by the database itself: `sums` follow every attempt by triggers, and the intent of
an attempt that would go over the ceiling is refused, whoever writes it.
"""

from __future__ import annotations

OVER_CEILING = "BV001"
"""The SQLSTATE that the trigger gives to an attempt which would cost more than may be spent."""

TABLES = (
    """
    CREATE TABLE batchvid.accounts (
        account BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT COLLATE "C" NOT NULL UNIQUE,
        base_url TEXT NOT NULL,
        accepted BIGINT NOT NULL DEFAULT 0,
        unsure_in_a_row BIGINT NOT NULL DEFAULT 0,
        doubt_resume_at TIMESTAMPTZ NOT NULL DEFAULT 'epoch',
        share DOUBLE PRECISION NOT NULL DEFAULT 1 CHECK (share > 0 AND share <= 1),
        slowed_at TIMESTAMPTZ NOT NULL DEFAULT 'epoch',
        resume_at TIMESTAMPTZ NOT NULL DEFAULT 'epoch',
        slowed_by TEXT NOT NULL DEFAULT ''
    )
    """,
    # A worker lives as long as its heartbeat in the engine's table of workers, whose number it has. *lost_at* is when
    # others took slices from it, and *silent_s* for how long it was not heard of then.
    """
    CREATE TABLE batchvid.workers (
        worker BIGINT PRIMARY KEY,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        ended TEXT,
        lost_at TIMESTAMPTZ,
        lost_slices BIGINT NOT NULL DEFAULT 0,
        silent_s DOUBLE PRECISION NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE batchvid.seats (
        account BIGINT NOT NULL REFERENCES batchvid.accounts,
        worker BIGINT NOT NULL REFERENCES batchvid.workers ON DELETE CASCADE,
        seats BIGINT NOT NULL CHECK (seats >= 0),
        wants BIGINT NOT NULL,
        in_flight BIGINT NOT NULL,
        PRIMARY KEY (account, worker)
    )
    """,
    # When the next request of an account may leave, on the database's own clock.
    """
    CREATE TABLE batchvid.paces (
        account BIGINT NOT NULL REFERENCES batchvid.accounts,
        kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('submits', 'requests')),
        next_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (account, kind)
    ) WITH (fillfactor = 10)
    """,
    # The history of the server that all was written to, and whether a standby was waited for; one row.
    "CREATE TABLE batchvid.timeline (timeline INTEGER NOT NULL, is_synchronous BOOLEAN NOT NULL)",
    # Of an account, or of one journal of it.
    """
    CREATE TABLE batchvid.halts (
        halt BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account BIGINT NOT NULL REFERENCES batchvid.accounts,
        journal BIGINT REFERENCES batchvid.journals,
        exit_code INTEGER NOT NULL,
        reason TEXT NOT NULL,
        polls_too BOOLEAN NOT NULL,
        at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX halts_by_account ON batchvid.halts (account)",
    # Paid task ids that a worker could not record any more. Whether one is adopted is told by the attempts alone.
    """
    CREATE TABLE batchvid.orphans (
        journal BIGINT NOT NULL REFERENCES batchvid.journals,
        job_id TEXT COLLATE "C" NOT NULL,
        attempt BIGINT NOT NULL,
        task_id TEXT COLLATE "C" NOT NULL,
        worker TEXT NOT NULL,
        at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (journal, task_id)
    )
    """,
    # Jobs whose doubt began with a worker that nobody heard of any more: it may wake, and its request leave then.
    """
    CREATE TABLE batchvid.takeovers (
        journal BIGINT NOT NULL,
        job_id TEXT COLLATE "C" NOT NULL,
        at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (journal, job_id),
        FOREIGN KEY (journal, job_id) REFERENCES batchvid.jobs ON UPDATE CASCADE
    )
    """,
    """
    CREATE TABLE batchvid.sums (
        journal BIGINT PRIMARY KEY REFERENCES batchvid.journals,
        spent BIGINT NOT NULL DEFAULT 0,
        reserved BIGINT NOT NULL DEFAULT 0,
        unproven BIGINT NOT NULL DEFAULT 0,
        unpriced BIGINT NOT NULL DEFAULT 0,
        ceiling BIGINT,
        ceiling_name TEXT NOT NULL DEFAULT ''
    ) WITH (fillfactor = 10)
    """,
    # What is about to be paid is refused. What was paid before the journal knew of it is recorded, whatever it costs.
    """
    CREATE FUNCTION batchvid.follow_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        is_new BOOLEAN := TG_OP = 'INSERT';
        spent_by BIGINT := 0;
        reserved_by BIGINT := 0;
        unpriced_by BIGINT := 0;
        kept batchvid.sums;
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            unpriced_by := unpriced_by - (OLD.price_micros IS NULL)::int;
            IF OLD.outcome IN ('open', 'in_doubt') THEN
                reserved_by := reserved_by - coalesce(OLD.price_micros, 0);
            ELSE
                spent_by := spent_by - coalesce(OLD.price_micros, 0);
            END IF;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            unpriced_by := unpriced_by + (NEW.price_micros IS NULL)::int;
            IF NEW.outcome IN ('open', 'in_doubt') THEN
                reserved_by := reserved_by + coalesce(NEW.price_micros, 0);
            ELSE
                spent_by := spent_by + coalesce(NEW.price_micros, 0);
            END IF;
        END IF;
        IF spent_by = 0 AND reserved_by = 0 AND unpriced_by = 0 AND NOT is_new THEN
            RETURN NULL;
        END IF;
        UPDATE batchvid.sums SET spent = spent + spent_by, reserved = reserved + reserved_by,
            unpriced = unpriced + unpriced_by WHERE journal = coalesce(NEW.journal, OLD.journal) RETURNING * INTO kept;
        IF NOT FOUND THEN
            INSERT INTO batchvid.sums AS sofar (journal, spent, reserved, unpriced)
                VALUES (coalesce(NEW.journal, OLD.journal), spent_by, reserved_by, unpriced_by)
                ON CONFLICT (journal) DO UPDATE SET spent = sofar.spent + excluded.spent,
                    reserved = sofar.reserved + excluded.reserved, unpriced = sofar.unpriced + excluded.unpriced
                RETURNING * INTO kept;
        END IF;
        IF is_new AND NEW.outcome = 'open' AND NEW.task_id IS NULL AND kept.ceiling IS NOT NULL AND (
            NEW.price_micros IS NULL OR kept.spent + kept.reserved + kept.unproven > kept.ceiling
        ) THEN
            RAISE EXCEPTION USING ERRCODE = 'BV001',
                MESSAGE = format('%s is reached: the price of %L no longer fits', kept.ceiling_name, NEW.job_id);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER follow_attempt AFTER INSERT OR UPDATE OR DELETE ON batchvid.attempts
        FOR EACH ROW EXECUTE FUNCTION batchvid.follow_attempt()
    """,
    """
    CREATE FUNCTION batchvid.follow_unproven() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        unproven_by BIGINT := coalesce(NEW.unproven_micros, 0);
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            unproven_by := unproven_by - OLD.unproven_micros;
        END IF;
        INSERT INTO batchvid.sums AS kept (journal, unproven) VALUES (NEW.journal, unproven_by)
            ON CONFLICT (journal) DO UPDATE SET unproven = kept.unproven + excluded.unproven;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER follow_unproven_of_new AFTER INSERT ON batchvid.jobs
        FOR EACH ROW WHEN (NEW.unproven_micros > 0) EXECUTE FUNCTION batchvid.follow_unproven()
    """,
    """
    CREATE TRIGGER follow_unproven AFTER UPDATE OF unproven_micros ON batchvid.jobs
        FOR EACH ROW WHEN (NEW.unproven_micros <> OLD.unproven_micros) EXECUTE FUNCTION batchvid.follow_unproven()
    """,
)

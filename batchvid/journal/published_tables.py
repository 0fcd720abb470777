"""The tables of what is published: revisions of manifests, their jobs and slices, and the pictures of their frames."""

from __future__ import annotations

TABLES = (
    # A manifest as it was published, without its jobs. What is not ended is what machines work on.
    """
    CREATE TABLE batchvid.revisions (
        revision BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        journal BIGINT NOT NULL REFERENCES batchvid.journals,
        account BIGINT NOT NULL,
        digest TEXT NOT NULL,
        manifest TEXT NOT NULL,
        options TEXT NOT NULL,
        published_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        published_by TEXT NOT NULL,
        withdrawn_by TEXT,
        ended_at TIMESTAMPTZ,
        exit_code INTEGER,
        summary TEXT
    )
    """,
    "CREATE UNIQUE INDEX revisions_live ON batchvid.revisions (journal) WHERE ended_at IS NULL",
    "CREATE INDEX revisions_by_journal ON batchvid.revisions (journal, revision)",
    # A worker that takes a slice raises its epoch, and every commit about its jobs checks that. *takers* are all that
    # ever had it, the last one last.
    """
    CREATE TABLE batchvid.slices (
        slice BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        revision BIGINT NOT NULL REFERENCES batchvid.revisions,
        epoch BIGINT NOT NULL DEFAULT 0,
        worker BIGINT,
        takers BIGINT[] NOT NULL DEFAULT '{}',
        jobs BIGINT NOT NULL,
        polls BIGINT NOT NULL DEFAULT 0,
        taken_at TIMESTAMPTZ,
        over_at TIMESTAMPTZ
    )
    """,
    "CREATE INDEX slices_by_revision ON batchvid.slices (revision)",
    # Every job of a revision in the manifest's order, and the slice that has it where something is left to do.
    """
    CREATE TABLE batchvid.work (
        revision BIGINT NOT NULL REFERENCES batchvid.revisions,
        position BIGINT NOT NULL,
        job_id TEXT COLLATE "C" NOT NULL,
        slice BIGINT,
        spec TEXT NOT NULL,
        again TEXT,
        again_version BIGINT,
        PRIMARY KEY (revision, position)
    )
    """,
    "CREATE INDEX work_by_slice ON batchvid.work (slice, position) WHERE slice IS NOT NULL",
    # Pictures without their metadata, by their content: pictures do not get smaller when they are packed again.
    """
    CREATE TABLE batchvid.frames (
        sha256 TEXT COLLATE "C" PRIMARY KEY,
        data BYTEA NOT NULL,
        used_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "ALTER TABLE batchvid.frames ALTER COLUMN data SET STORAGE EXTERNAL",
    # The newest change of the engine's own schema that was made here; no row: the engine has no tables yet.
    "CREATE TABLE batchvid.engine (migration TEXT NOT NULL)",
)

-- version 1

-- accounts
account bigint IDENTITY NOT NULL
name text COLLATE C NOT NULL
base_url text NOT NULL
accepted bigint NOT NULL DEFAULT 0
unsure_in_a_row bigint NOT NULL DEFAULT 0
doubt_resume_at timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone
share double precision NOT NULL DEFAULT 1
slowed_at timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone
resume_at timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone
slowed_by text NOT NULL DEFAULT ''::text
accounts_name_key UNIQUE (name)
accounts_pkey PRIMARY KEY (account)
accounts_share_check CHECK (((share > (0)::double precision) AND (share <= (1)::double precision)))
CREATE UNIQUE INDEX accounts_name_key ON batchvid.accounts USING btree (name)
CREATE UNIQUE INDEX accounts_pkey ON batchvid.accounts USING btree (account)

-- attempts
journal bigint NOT NULL
job_id text COLLATE C NOT NULL
attempt bigint NOT NULL
price_micros bigint
fingerprint text NOT NULL
started_at double precision NOT NULL
accepted_at double precision
task_id text COLLATE C
resolved_model text
outcome text NOT NULL
finished_at double precision
reason text
raw bytea
attempts_attempt_check CHECK ((attempt > 0))
attempts_journal_job_id_fkey FOREIGN KEY (journal, job_id) REFERENCES jobs(journal, job_id) ON UPDATE CASCADE
attempts_outcome_check CHECK ((outcome = ANY (ARRAY['open'::text, 'in_doubt'::text, 'succeeded'::text, 'failed'::text, 'abandoned'::text])))
attempts_pkey PRIMARY KEY (journal, job_id, attempt)
CREATE UNIQUE INDEX attempts_by_task ON batchvid.attempts USING btree (journal, task_id) WHERE (task_id IS NOT NULL)
CREATE UNIQUE INDEX attempts_pkey ON batchvid.attempts USING btree (journal, job_id, attempt)
CREATE TRIGGER follow_attempt AFTER INSERT OR DELETE OR UPDATE ON batchvid.attempts FOR EACH ROW EXECUTE FUNCTION follow_attempt()

-- decisions
seq bigint IDENTITY NOT NULL
journal bigint NOT NULL
job_id text COLLATE C NOT NULL
attempt bigint NOT NULL
at double precision NOT NULL
by text NOT NULL
verdict text
stars bigint
note text NOT NULL
decisions_journal_job_id_attempt_fkey FOREIGN KEY (journal, job_id, attempt) REFERENCES attempts(journal, job_id, attempt) ON UPDATE CASCADE
decisions_pkey PRIMARY KEY (journal, seq)
decisions_stars_check CHECK (((stars >= 0) AND (stars <= 5)))
decisions_verdict_check CHECK ((verdict = ANY (ARRAY['approved'::text, 'rejected'::text])))
CREATE INDEX decisions_by_clip ON batchvid.decisions USING btree (journal, job_id, attempt)
CREATE UNIQUE INDEX decisions_pkey ON batchvid.decisions USING btree (journal, seq)

-- engine
migration text NOT NULL

-- events
seq bigint IDENTITY NOT NULL
journal bigint NOT NULL
job_id text COLLATE C NOT NULL
attempt bigint NOT NULL
at double precision NOT NULL
kind text NOT NULL
data text NOT NULL
events_pkey PRIMARY KEY (journal, seq)
CREATE INDEX events_by_job ON batchvid.events USING btree (journal, job_id)
CREATE UNIQUE INDEX events_pkey ON batchvid.events USING btree (journal, seq)

-- frames
sha256 text COLLATE C NOT NULL
data bytea NOT NULL
used_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
frames_pkey PRIMARY KEY (sha256)
CREATE UNIQUE INDEX frames_pkey ON batchvid.frames USING btree (sha256)

-- halts
halt bigint IDENTITY NOT NULL
account bigint NOT NULL
journal bigint
exit_code integer NOT NULL
reason text NOT NULL
polls_too boolean NOT NULL
at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
halts_account_fkey FOREIGN KEY (account) REFERENCES accounts(account)
halts_journal_fkey FOREIGN KEY (journal) REFERENCES journals(journal)
halts_pkey PRIMARY KEY (halt)
CREATE INDEX halts_by_account ON batchvid.halts USING btree (account)
CREATE UNIQUE INDEX halts_pkey ON batchvid.halts USING btree (halt)

-- jobs
journal bigint NOT NULL
job_id text COLLATE C NOT NULL
allowance_from bigint NOT NULL
attempt bigint NOT NULL
price_micros bigint
unproven_micros bigint NOT NULL
fingerprint text
submitted_at double precision
task_id text
resolved_model text
url text
url_expires_at double precision
version bigint NOT NULL
parked boolean NOT NULL
state text NOT NULL
reason text
finished_at double precision
path text
size_bytes bigint
sha256 text
jobs_attempt_check CHECK ((attempt >= 0))
jobs_journal_fkey FOREIGN KEY (journal) REFERENCES journals(journal)
jobs_pkey PRIMARY KEY (journal, job_id)
jobs_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'submitting'::text, 'in_doubt'::text, 'running'::text, 'ready'::text, 'done'::text, 'failed'::text])))
jobs_unproven_micros_check CHECK ((unproven_micros >= 0))
jobs_version_check CHECK ((version > 0))
CREATE UNIQUE INDEX jobs_pkey ON batchvid.jobs USING btree (journal, job_id)
CREATE TRIGGER follow_unproven AFTER UPDATE OF unproven_micros ON batchvid.jobs FOR EACH ROW WHEN ((new.unproven_micros <> old.unproven_micros)) EXECUTE FUNCTION follow_unproven()
CREATE TRIGGER follow_unproven_of_new AFTER INSERT ON batchvid.jobs FOR EACH ROW WHEN ((new.unproven_micros > 0)) EXECUTE FUNCTION follow_unproven()

-- journals
journal bigint IDENTITY NOT NULL
name text COLLATE C NOT NULL
journals_name_key UNIQUE (name)
journals_pkey PRIMARY KEY (journal)
CREATE UNIQUE INDEX journals_name_key ON batchvid.journals USING btree (name)
CREATE UNIQUE INDEX journals_pkey ON batchvid.journals USING btree (journal)

-- meta
journal bigint NOT NULL
key text COLLATE C NOT NULL
value text NOT NULL
meta_journal_fkey FOREIGN KEY (journal) REFERENCES journals(journal)
meta_pkey PRIMARY KEY (journal, key)
CREATE UNIQUE INDEX meta_pkey ON batchvid.meta USING btree (journal, key)

-- orphans
journal bigint NOT NULL
job_id text COLLATE C NOT NULL
attempt bigint NOT NULL
task_id text COLLATE C NOT NULL
worker text NOT NULL
at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
orphans_journal_fkey FOREIGN KEY (journal) REFERENCES journals(journal)
orphans_pkey PRIMARY KEY (journal, task_id)
CREATE UNIQUE INDEX orphans_pkey ON batchvid.orphans USING btree (journal, task_id)

-- paces
account bigint NOT NULL
kind text COLLATE C NOT NULL
next_at double precision NOT NULL
paces_account_fkey FOREIGN KEY (account) REFERENCES accounts(account)
paces_kind_check CHECK ((kind = ANY (ARRAY['submits'::text, 'requests'::text])))
paces_pkey PRIMARY KEY (account, kind)
CREATE UNIQUE INDEX paces_pkey ON batchvid.paces USING btree (account, kind)

-- revisions
revision bigint IDENTITY NOT NULL
journal bigint NOT NULL
account bigint NOT NULL
digest text NOT NULL
manifest text NOT NULL
options text NOT NULL
published_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
published_by text NOT NULL
withdrawn_by text
ended_at timestamp with time zone
exit_code integer
summary text
revisions_journal_fkey FOREIGN KEY (journal) REFERENCES journals(journal)
revisions_pkey PRIMARY KEY (revision)
CREATE INDEX revisions_by_journal ON batchvid.revisions USING btree (journal, revision)
CREATE UNIQUE INDEX revisions_live ON batchvid.revisions USING btree (journal) WHERE (ended_at IS NULL)
CREATE UNIQUE INDEX revisions_pkey ON batchvid.revisions USING btree (revision)

-- schema_version
version integer NOT NULL

-- seats
account bigint NOT NULL
worker bigint NOT NULL
seats bigint NOT NULL
wants bigint NOT NULL
in_flight bigint NOT NULL
seats_account_fkey FOREIGN KEY (account) REFERENCES accounts(account)
seats_pkey PRIMARY KEY (account, worker)
seats_seats_check CHECK ((seats >= 0))
seats_worker_fkey FOREIGN KEY (worker) REFERENCES workers(worker) ON DELETE CASCADE
CREATE UNIQUE INDEX seats_pkey ON batchvid.seats USING btree (account, worker)

-- slices
slice bigint IDENTITY NOT NULL
revision bigint NOT NULL
epoch bigint NOT NULL DEFAULT 0
worker bigint
takers bigint[] NOT NULL DEFAULT '{}'::bigint[]
jobs bigint NOT NULL
polls bigint NOT NULL DEFAULT 0
taken_at timestamp with time zone
over_at timestamp with time zone
slices_pkey PRIMARY KEY (slice)
slices_revision_fkey FOREIGN KEY (revision) REFERENCES revisions(revision)
CREATE INDEX slices_by_revision ON batchvid.slices USING btree (revision)
CREATE UNIQUE INDEX slices_pkey ON batchvid.slices USING btree (slice)

-- sums
journal bigint NOT NULL
spent bigint NOT NULL DEFAULT 0
reserved bigint NOT NULL DEFAULT 0
unproven bigint NOT NULL DEFAULT 0
unpriced bigint NOT NULL DEFAULT 0
ceiling bigint
ceiling_name text NOT NULL DEFAULT ''::text
sums_journal_fkey FOREIGN KEY (journal) REFERENCES journals(journal)
sums_pkey PRIMARY KEY (journal)
CREATE UNIQUE INDEX sums_pkey ON batchvid.sums USING btree (journal)

-- takeovers
journal bigint NOT NULL
job_id text COLLATE C NOT NULL
at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
takeovers_journal_job_id_fkey FOREIGN KEY (journal, job_id) REFERENCES jobs(journal, job_id) ON UPDATE CASCADE
takeovers_pkey PRIMARY KEY (journal, job_id)
CREATE UNIQUE INDEX takeovers_pkey ON batchvid.takeovers USING btree (journal, job_id)

-- timeline
timeline integer NOT NULL
is_synchronous boolean NOT NULL

-- timings
seq bigint IDENTITY NOT NULL
journal bigint NOT NULL
timing_class text COLLATE C NOT NULL
took_s double precision NOT NULL
at double precision NOT NULL
timings_pkey PRIMARY KEY (journal, timing_class, seq)
CREATE UNIQUE INDEX timings_pkey ON batchvid.timings USING btree (journal, timing_class, seq)

-- work
revision bigint NOT NULL
position bigint NOT NULL
job_id text COLLATE C NOT NULL
slice bigint
spec text NOT NULL
again text
again_version bigint
work_pkey PRIMARY KEY (revision, "position")
work_revision_fkey FOREIGN KEY (revision) REFERENCES revisions(revision)
CREATE INDEX work_by_slice ON batchvid.work USING btree (slice, "position") WHERE (slice IS NOT NULL)
CREATE UNIQUE INDEX work_pkey ON batchvid.work USING btree (revision, "position")

-- workers
worker bigint NOT NULL
name text NOT NULL
version text NOT NULL
started_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
seen_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
ended text
lost_at timestamp with time zone
lost_slices bigint NOT NULL DEFAULT 0
silent_s double precision NOT NULL DEFAULT 0
workers_pkey PRIMARY KEY (worker)
CREATE UNIQUE INDEX workers_pkey ON batchvid.workers USING btree (worker)

CREATE OR REPLACE FUNCTION batchvid.follow_attempt()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
    END $function$

CREATE OR REPLACE FUNCTION batchvid.follow_unproven()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    DECLARE
        unproven_by BIGINT := coalesce(NEW.unproven_micros, 0);
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            unproven_by := unproven_by - OLD.unproven_micros;
        END IF;
        INSERT INTO batchvid.sums AS kept (journal, unproven) VALUES (NEW.journal, unproven_by)
            ON CONFLICT (journal) DO UPDATE SET unproven = kept.unproven + excluded.unproven;
        RETURN NULL;
    END $function$

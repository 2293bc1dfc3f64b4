-- The ledger, and the outbox in one: Debezium streams inserts of `facts` and `heartbeats`, and nothing else.
-- A row is written once. Its name `id` is BLAKE3-256 over kind, key and the uncompressed body.
CREATE TABLE IF NOT EXISTS facts (
    id      bytea   NOT NULL CHECK (octet_length(id) = 32),
    kind    text    NOT NULL,
    origin  text    NOT NULL,                  -- node and incarnation that wrote it first
    stream  integer NOT NULL,                  -- partition of ticks, P for all others
    oseq    bigint  NOT NULL CHECK (oseq > 0), -- gapless per (origin, stream)
    key     text COLLATE "C" PRIMARY KEY,      -- natural key: kind/…/offset, in the order of the log
    payload bytea   NOT NULL CHECK (octet_length(payload) <= 524288)
);
-- Compressed already; and the head of a large payload can be read without the rest.
ALTER TABLE facts ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS facts_id ON facts (id); -- for people: the first digits of an id
CREATE UNIQUE INDEX IF NOT EXISTS facts_origin ON facts (origin, stream, oseq);

-- Row security makes Postgres refuse COPY FROM: rows of one COPY page share an LSN, which change capture may skip.
ALTER TABLE facts ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS every_row ON facts;
CREATE POLICY every_row ON facts USING (true) WITH CHECK (true);

-- A heartbeat says the greatest oseq held per (origin, stream). Behind the facts in the WAL, it names nothing unsent.
CREATE TABLE IF NOT EXISTS heartbeats (
    id      bytea   NOT NULL,
    kind    text    NOT NULL,
    origin  text    NOT NULL,
    stream  integer NOT NULL,
    oseq    bigint  NOT NULL,
    key     text    NOT NULL,
    payload bytea   NOT NULL,
    sent    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, oseq)
);

-- A fact that was held already arrives under another (origin, stream, oseq): without this row it would be a gap.
CREATE TABLE IF NOT EXISTS arrivals (
    origin text    NOT NULL,
    stream integer NOT NULL,
    oseq   bigint  NOT NULL,
    key    text COLLATE "C" NOT NULL,
    id     bytea   NOT NULL,
    PRIMARY KEY (origin, stream, oseq)
);

-- Second copies of bodies that were found damaged: a reader asks, the replicator finds one in the log or at a peer.
CREATE TABLE IF NOT EXISTS mended (
    key     text COLLATE "C" PRIMARY KEY,
    id      bytea   NOT NULL,
    origin  text    NOT NULL,
    stream  integer NOT NULL,
    oseq    bigint  NOT NULL,
    payload bytea,                             -- NULL until it came
    asked   timestamptz NOT NULL DEFAULT now()
);

-- What has come from every foreign (origin, stream).
CREATE TABLE IF NOT EXISTS origins (
    origin     text    NOT NULL,
    stream     integer NOT NULL,
    contiguous bigint  NOT NULL DEFAULT 0,     -- 1..contiguous have all arrived
    greatest   bigint  NOT NULL DEFAULT 0,     -- the greatest that arrived
    named      bigint  NOT NULL DEFAULT 0,     -- the greatest that any heartbeat named
    PRIMARY KEY (origin, stream)
) WITH (fillfactor = 50);

-- Two contents for one natural key: an alarm, until a person settles which one stays. Both are kept.
CREATE TABLE IF NOT EXISTS divergences (
    key     text COLLATE "C" NOT NULL,
    held    bytea   NOT NULL,
    came    bytea   NOT NULL,
    kind    text    NOT NULL,
    origin  text    NOT NULL,
    stream  integer NOT NULL,
    oseq    bigint  NOT NULL,
    payload bytea   NOT NULL,
    seen    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, came)
);
ALTER TABLE divergences ADD COLUMN IF NOT EXISTS settled timestamptz;

-- How far this node holds both chunks of every message: contiguous by ordinal, per chain and partition.
-- Moved under the lock of the partition's stream, by the worker and by the replicator.
CREATE TABLE IF NOT EXISTS marks (
    chain        text    NOT NULL,
    partition    integer NOT NULL,
    log_id       text    NOT NULL,
    ticks_offset bigint  NOT NULL,             -- of the next message
    ordinal      bigint  NOT NULL,             -- of the next accepted message
    vector       text    NOT NULL,             -- canonical JSON: how far the sources have been read
    PRIMARY KEY (chain, partition)
) WITH (fillfactor = 50);

-- How far the replicator has read the topics, beside what it read.
CREATE TABLE IF NOT EXISTS progress (
    log_id      text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (log_id, partition)
) WITH (fillfactor = 50);

-- Which log a topic is, by its UUID. An unknown one stops its readers until `orrery log adopt`.
CREATE TABLE IF NOT EXISTS logs (
    topic   text NOT NULL,
    log_id  text NOT NULL,
    adopted timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, log_id)
);

-- A human name leads to the content of a chain; it moves when a new chain has caught up.
CREATE TABLE IF NOT EXISTS chain_names (
    name  text PRIMARY KEY,
    chain text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

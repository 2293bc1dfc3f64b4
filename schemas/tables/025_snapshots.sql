-- What this node knows of snapshots beside the facts. All of it can be made again from them.
-- The snapshots whose leaves are all held here, in the order of their cuts.
CREATE TABLE IF NOT EXISTS snapshots (
    number     bigint PRIMARY KEY,             -- of the cut
    id         bytea  NOT NULL,
    parent     bytea,
    at_ns      bigint NOT NULL,                -- the cut's own time
    trigger    text   NOT NULL,
    made       timestamptz NOT NULL DEFAULT now()
);
-- A Bloom filter over the leaves that changed since the parent; NULL: too many did, or nobody can say.
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS changed bytea;
CREATE INDEX IF NOT EXISTS snapshots_id ON snapshots (id);

-- In which pack a piece of a tree lies, and where in it.
CREATE TABLE IF NOT EXISTS tree_pieces (
    digest bytea   PRIMARY KEY,
    pack   text COLLATE "C" NOT NULL,
    at     integer NOT NULL,
    size   integer NOT NULL
);
CREATE INDEX IF NOT EXISTS tree_pieces_pack ON tree_pieces (pack);

-- Snapshots that a run in flight needs: gc leaves them alone.
CREATE TABLE IF NOT EXISTS snapshot_holds (
    snapshot bytea NOT NULL,
    holder   text  NOT NULL,
    since    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (snapshot, holder)
);

GRANT SELECT ON snapshots, tree_pieces, snapshot_holds TO orrery_reader, orrery_writer, orrery_gc;
GRANT INSERT, UPDATE ON snapshots, tree_pieces TO orrery_writer;
GRANT INSERT, DELETE ON snapshot_holds TO orrery_writer;

-- Gc empties bodies, never names, and nobody else may.
GRANT SELECT ON facts, node, incarnations, origins TO orrery_gc;
GRANT UPDATE (payload) ON facts TO orrery_gc;
GRANT DELETE ON tree_pieces TO orrery_gc;

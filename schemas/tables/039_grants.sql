-- Least privilege. Nobody but the owner may UPDATE, DELETE or TRUNCATE a fact.
GRANT SELECT ON incarnations, node, facts, heartbeats, arrivals, origins, divergences, marks, progress, logs,
    chain_names, latest_rows, result_rows, projected, latest, results TO orrery_reader, orrery_writer;

GRANT SELECT, INSERT ON mended TO orrery_reader, orrery_writer;
GRANT UPDATE (payload) ON mended TO orrery_writer;

GRANT INSERT ON facts, heartbeats, arrivals, divergences, logs TO orrery_writer;
GRANT DELETE ON heartbeats TO orrery_writer;
GRANT INSERT, UPDATE ON incarnations, node, origins, marks, progress, chain_names TO orrery_writer;
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON latest_rows, result_rows, projected TO orrery_writer;

GRANT SELECT ON facts, heartbeats TO orrery_cdc;

REVOKE ALL ON FUNCTION current_incarnation(), server_identity() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_incarnation(), server_identity() TO orrery_writer, orrery_reader;

-- The replicator inserts under a replication origin, which keeps its rows out of this node's own change stream.
GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), pg_replication_origin_oid(text),
    pg_replication_origin_session_setup(text), pg_replication_origin_session_reset(),
    pg_replication_origin_session_is_setup(),
    pg_replication_origin_xact_setup(pg_lsn, timestamptz) TO orrery_writer;

DO $$ BEGIN
    IF pg_replication_origin_oid('orrery') IS NULL THEN PERFORM pg_replication_origin_create('orrery'); END IF;
    IF NOT EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'orrery' AND tablename = 'facts') THEN
        ALTER PUBLICATION orrery ADD TABLE facts, heartbeats;
    END IF;
END $$;

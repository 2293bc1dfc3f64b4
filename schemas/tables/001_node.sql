-- Who this database is. An incarnation is a fresh UUID: a new one begins on an empty disk, and when the disk
-- turns out to be an old one (see services/orrery_services/replication/incarnation.py).
CREATE TABLE IF NOT EXISTS incarnations (
    incarnation uuid PRIMARY KEY,
    node        text NOT NULL,
    origin      text NOT NULL UNIQUE,          -- node.<incarnation in 22 characters>: what facts carry
    began       timestamptz NOT NULL DEFAULT now(),
    closed      timestamptz,
    reason      text NOT NULL
);

CREATE TABLE IF NOT EXISTS node (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name              text NOT NULL,
    incarnation       uuid NOT NULL REFERENCES incarnations,
    system_identifier text NOT NULL,
    timeline          integer NOT NULL,
    server_started    timestamptz NOT NULL,    -- the start of the server that was last looked at
    sources_begun     boolean NOT NULL DEFAULT false -- the connectors have new offsets for this incarnation
);

-- Stored in a captured row when it is inserted: a row is counted under the incarnation that wrote it. There is
-- none between a start of the server and the look that follows: a restored disk would give ids a second time.
CREATE OR REPLACE FUNCTION current_incarnation() RETURNS uuid
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT incarnation FROM node WHERE server_started = pg_postmaster_start_time()';

-- What tells a restored disk from a restarted server. Readable by every service of this node.
CREATE OR REPLACE FUNCTION server_identity(
    OUT system_identifier text, OUT timeline integer, OUT server_started timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT s.system_identifier::text, c.timeline_id, pg_postmaster_start_time()
        FROM pg_control_system() s, pg_control_checkpoint() c';

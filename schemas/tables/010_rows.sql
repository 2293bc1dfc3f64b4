-- Tables whose inserts take the same road as messages of the topic of the same name: Debezium streams them there.
-- The id is given under a lock held to the commit, so that id order is commit order; with the incarnation of the
-- database that gave it, it names the row for ever. Prices are NUMERIC: decimal text arrives as it was written.
CREATE TABLE IF NOT EXISTS trades (
    id          bigint  PRIMARY KEY,
    incarnation uuid    NOT NULL,
    symbol      text    NOT NULL CHECK (octet_length(symbol) BETWEEN 1 AND 256),
    price       numeric NOT NULL CHECK (price > 0 AND price < 'Infinity' AND price <> 'NaN'),
    size        numeric NOT NULL CHECK (size > 0 AND size < 'Infinity' AND size <> 'NaN'),
    side        text    CHECK (side IN ('buy', 'sell')),
    ts_event_ns bigint  CHECK (ts_event_ns >= 0),
    ts_recv_ns  bigint  CHECK (ts_recv_ns >= 0),
    trade_id    text    CHECK (octet_length(trade_id) <= 256)
);

CREATE TABLE IF NOT EXISTS quotes (
    id          bigint  PRIMARY KEY,
    incarnation uuid    NOT NULL,
    symbol      text    NOT NULL CHECK (octet_length(symbol) BETWEEN 1 AND 256),
    bid         numeric NOT NULL CHECK (bid > 0 AND bid < 'Infinity' AND bid <> 'NaN'),
    ask         numeric NOT NULL CHECK (ask > 0 AND ask < 'Infinity' AND ask <> 'NaN'),
    bid_size    numeric NOT NULL CHECK (bid_size >= 0 AND bid_size < 'Infinity' AND bid_size <> 'NaN'),
    ask_size    numeric NOT NULL CHECK (ask_size >= 0 AND ask_size < 'Infinity' AND ask_size <> 'NaN'),
    ts_event_ns bigint  CHECK (ts_event_ns >= 0),
    ts_recv_ns  bigint  CHECK (ts_recv_ns >= 0),
    CHECK (bid_size > 0 OR ask_size > 0)
);

CREATE TABLE IF NOT EXISTS market_quotes (
    id          bigint  PRIMARY KEY,
    incarnation uuid    NOT NULL,
    symbol      text    NOT NULL CHECK (octet_length(symbol) BETWEEN 1 AND 256),
    value       numeric NOT NULL CHECK (value > '-Infinity' AND value < 'Infinity' AND value <> 'NaN'),
    ts_event_ns bigint  CHECK (ts_event_ns >= 0),
    ts_recv_ns  bigint  CHECK (ts_recv_ns >= 0)
);

CREATE SEQUENCE IF NOT EXISTS trades_id OWNED BY trades.id;
CREATE SEQUENCE IF NOT EXISTS quotes_id OWNED BY quotes.id;
CREATE SEQUENCE IF NOT EXISTS market_quotes_id OWNED BY market_quotes.id;

-- Whatever the INSERT said about id and incarnation, these are given here. SECURITY DEFINER: who may insert needs
-- no right to the sequence.
CREATE OR REPLACE FUNCTION give_identity() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
    NEW.id := nextval(TG_TABLE_NAME || '_id');
    NEW.incarnation := current_incarnation();
    IF NEW.incarnation IS NULL THEN
        RAISE EXCEPTION 'this node has no incarnation yet: start its replication service once, then insert'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['trades', 'quotes', 'market_quotes'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER give_identity BEFORE INSERT ON %I
                        FOR EACH ROW EXECUTE FUNCTION give_identity()', name);
        -- Row security, even with a policy that allows everything, makes Postgres refuse COPY FROM: rows of one
        -- COPY share one place in the WAL, and a source that restarts between them would lose the rest.
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('DROP POLICY IF EXISTS anybody ON %I', name);
        EXECUTE format('CREATE POLICY anybody ON %I USING (true) WITH CHECK (true)', name);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC', name);
        EXECUTE format('GRANT INSERT, SELECT ON %I TO orrery_writer', name);
        EXECUTE format('GRANT SELECT ON %I TO orrery_reader', name);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION give_identity() FROM PUBLIC;

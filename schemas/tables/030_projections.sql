-- For people, and for nothing else: written behind, unlogged, rebuilt from facts (`orrery tsdb rebuild`).
CREATE UNLOGGED TABLE IF NOT EXISTS latest_rows (
    chain       text   NOT NULL,
    symbol      text   NOT NULL,
    ts_event_ns bigint,
    partition   integer NOT NULL,
    tick_offset bigint NOT NULL,
    tick_row    integer NOT NULL,
    outputs     jsonb  NOT NULL,
    PRIMARY KEY (chain, symbol)
) WITH (fillfactor = 70);

CREATE UNLOGGED TABLE IF NOT EXISTS result_rows (
    chain       text   NOT NULL,
    partition   integer NOT NULL,
    tick_offset bigint NOT NULL,
    tick_row    integer NOT NULL,
    symbol      text   NOT NULL,
    ts_event_ns bigint,
    outputs     jsonb  NOT NULL,
    PRIMARY KEY (chain, partition, tick_offset, tick_row)
);

-- Each projection of each chain and partition has its own place: one that is away holds up no other.
CREATE UNLOGGED TABLE IF NOT EXISTS projected (
    projection  text    NOT NULL,
    chain       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (projection, chain, partition)
) WITH (fillfactor = 50);

CREATE OR REPLACE VIEW latest AS
    SELECT n.name AS chain, r.symbol, r.ts_event_ns, r.partition, r.tick_offset, r.tick_row, r.outputs
    FROM latest_rows r JOIN chain_names n ON n.chain = r.chain;

CREATE OR REPLACE VIEW results AS
    SELECT n.name AS chain, r.symbol, r.ts_event_ns, r.partition, r.tick_offset, r.tick_row, r.outputs
    FROM result_rows r JOIN chain_names n ON n.chain = r.chain;

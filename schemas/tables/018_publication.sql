-- The captured tables: a row inserted here takes the same road as one produced to the topic of the same name.
DO $$
DECLARE name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'orrery') THEN
        CREATE PUBLICATION orrery WITH (publish = 'insert');
    END IF;
    FOREACH name IN ARRAY ARRAY['trades', 'quotes', 'market_quotes'] LOOP
        CONTINUE WHEN to_regclass('public.' || name) IS NULL;
        EXECUTE format('GRANT SELECT ON %I TO orrery_cdc', name);
        CONTINUE WHEN EXISTS (SELECT FROM pg_publication_tables
                              WHERE pubname = 'orrery' AND tablename = name);
        EXECUTE format('ALTER PUBLICATION orrery ADD TABLE %I', name);
    END LOOP;
END $$;

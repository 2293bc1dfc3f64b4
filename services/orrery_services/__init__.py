"""The weather outside: everything that touches Kafka, Postgres, files and time."""

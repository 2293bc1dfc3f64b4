"""The one way to Postgres. Reading order: connection, ledger (writing facts), receiving (facts of
others), reading, identity (who this database is).

    connection = store.connect(settings.postgres("writer"))
    outcome = store.commit(connection, facts, moves)
"""

from orrery_services.protocol.marks import Mark

from .connection import connect
from .identity import Identity, NotLookedAt, is_looked_at, who
from .ledger import Outcome, commit
from .reading import (
    chain_names,
    fact_by_key,
    facts_between,
    facts_named,
    fetch_piece,
    links_from,
    logs,
    marks,
    newest_mark,
)
from .receiving import Receipt, Received, receive

__all__ = [
    "Identity",
    "Mark",
    "NotLookedAt",
    "Outcome",
    "Receipt",
    "Received",
    "chain_names",
    "commit",
    "connect",
    "fact_by_key",
    "facts_between",
    "facts_named",
    "fetch_piece",
    "is_looked_at",
    "links_from",
    "logs",
    "marks",
    "newest_mark",
    "receive",
    "who",
]

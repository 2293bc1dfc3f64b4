"""Every connection that a part makes, once: what policies, networks and code are compared with.

A row is (from, to, port). `people` are outside; the kubelet's probes and DNS are left out.
"""

POSTGRES, KAFKA, CONTROLLER, CONNECT = 5432, 9092, 9093, 8083
TSDB, METRICS, PAGE, MEMO, API = 8428, 9100, 8080, 8900, 6443

SKY = ("kafka", "connect")

CONNECTIONS = {
    ("packer", "kafka", KAFKA),
    ("packer", "postgres", POSTGRES),
    ("analytics", "kafka", KAFKA),
    ("analytics", "postgres", POSTGRES),
    ("analytics", "tsdb", TSDB),
    ("replication", "kafka", KAFKA),
    ("replication", "postgres", POSTGRES),
    ("replication", "connect", CONNECT),
    ("replication", "tsdb", TSDB),
    ("gateway", "kafka", KAFKA),
    ("gateway", "postgres", POSTGRES),
    ("gateway", "connect", CONNECT),
    ("gateway", "tsdb", TSDB),
    ("gateway", "packer", METRICS),
    ("gateway", "analytics", METRICS),
    ("gateway", "replication", METRICS),
    ("gateway", "hotswap", METRICS),
    ("gateway", "snapshots", METRICS),
    ("gateway", "dominoes", METRICS),
    ("dominoes", "postgres", POSTGRES),
    ("snapshots", "kafka", KAFKA),
    ("snapshots", "postgres", POSTGRES),
    ("feed", "kafka", KAFKA),
    ("setup", "kafka", KAFKA),
    ("setup", "postgres", POSTGRES),
    ("setup", "connect", CONNECT),
    ("hotswap", "domino", MEMO),
    ("hotswap", "postgres", POSTGRES),
    ("hotswap", "api-server", API),
    ("domino", "postgres", POSTGRES),
    ("connect", "kafka", KAFKA),
    ("connect", "postgres", POSTGRES),
    ("connect", "connect", CONNECT),  # a worker that does not lead hands a change on
    ("kafka", "kafka", KAFKA),
    ("kafka", "kafka", CONTROLLER),
    ("people", "gateway", PAGE),
}

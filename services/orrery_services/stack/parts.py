"""The whole stack as a list of parts, in the order in which they come up: the one place for it."""

import json

from .. import connect as rest
from . import connectors, kafka, migrations, plan, postgres, service_parts, topics, victoria
from .part import Part, Tell


def all_parts(stack: plan.Plan) -> list[Part]:
    """Return every part of a stack: the sky, then each node, then the services, then the feed."""
    parts = [kafka.broker(stack), kafka.connect(stack)]
    parts += [Part("topics", prepare=lambda tell: make_topics(stack, tell), after=("kafka",))]
    for node in stack.nodes:
        parts += _node_parts(stack, node)
    for node in stack.nodes:
        parts += service_parts.of_node(stack, node)
    return [*parts, service_parts.feed(stack)]


def _node_parts(stack: plan.Plan, node: str) -> list[Part]:
    return [
        postgres.part(stack, node),
        victoria.part(stack, node),
        Part(
            f"{node}.tables",
            prepare=lambda tell: make_tables(stack, node, tell),
            after=(f"{node}.postgres",),
        ),
        *(
            Part(
                f"{node}.{name}",
                prepare=lambda tell, name=name: connectors.register(stack, node, name, tell),
                ready=lambda name=name: connectors.running(stack, node, name),
                after=("connect", "topics", f"{node}.tables"),
                ready_seconds=300.0,
            )
            for name in rest.NAMES
        ),
    ]


def make_topics(stack: plan.Plan, tell: Tell) -> None:
    tell(topics.ensure(postgres.settings(stack, stack.nodes[0])))


def make_tables(stack: plan.Plan, node: str, tell: Tell) -> None:
    done = migrations.apply_tables(postgres.settings(stack, node))
    tell(f"ran {len(done)} files of schemas/tables" if done else "")


def publish_addresses(stack: plan.Plan) -> None:
    """Write what the settings of each node should be while this stack runs."""
    for node in stack.nodes:
        ports = {
            f"ports.{name.split('.', 1)[1]}": port
            for name, port in stack.ports.items()
            if name.startswith(f"{node}.")
        }
        ports["ports.gateway"] = ports.pop("ports.gateway.metrics")
        with_tsdb = stack.tsdb and victoria.binary() is not None
        addresses = ports | {
            "kafka": f"127.0.0.1:{stack.ports['kafka']}",
            "connect": f"http://127.0.0.1:{stack.ports['connect']}",
            "tsdb": f"http://127.0.0.1:{stack.ports[f'{node}.tsdb']}" if with_tsdb else "",
            "postgres.port": stack.ports[f"{node}.postgres"],
            "gateway_port": stack.ports[f"{node}.gateway"],
        }
        text = json.dumps(addresses, indent=1)
        plan.write_whole(stack.run / "nodes" / f"{node}.json", text)

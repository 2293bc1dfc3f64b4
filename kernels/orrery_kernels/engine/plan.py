"""From named steps to a plan: kernels with parameters, each reading columns or earlier outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from orrery_kernels.columns import ALIASES, ROWS_OF_COLUMN, SOURCE_KINDS
from orrery_kernels.engine import catalog
from orrery_kernels.engine.layout import Layout, layout_of, record_bytes
from orrery_kernels.engine.spec import Kernel
from orrery_kernels.errors import ColumnError, ParameterError

NUMERICS = "orrery-numerics-1"  # changes when the same steps may give other bits


@dataclass(frozen=True)
class Instance:
    """One kernel with its parameters and the columns it reads and writes."""

    kernel: Kernel
    p: SimpleNamespace
    columns: tuple[str, ...]  # read, in the order of kernel.inputs
    outputs: tuple[str, ...]
    rows: str
    part_of: str = ""  # the kernel that was asked for, where it is composed
    hidden: bool = False  # between its parts

    @cached_property
    def layout(self) -> Layout:
        return layout_of(self.kernel)

    @cached_property
    def size(self) -> tuple[int, int, list[int]]:
        return record_bytes(self.kernel, self.p)

    @cached_property
    def tables(self) -> list[np.ndarray]:
        kinds = self.layout.constants
        return [
            np.array(getattr(self.p, n), np.float64) for n, (_, k) in kinds.items() if k == "table"
        ]

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal keys compute equal columns."""
        return (self.kernel.name, self.columns, self.rows, repr(sorted(vars(self.p).items())))

    def described(self) -> str:
        values = ",".join(f"{k}={v!r}" for k, v in vars(self.p).items())
        read, written = ",".join(self.columns), ",".join(self.outputs)
        return f"{self.kernel.name}({values};{read};{self.rows})->{written}"


def resolve(
    kernel: Kernel, step: Mapping[str, Any], made: Mapping[str, str], place: str
) -> Instance:
    """Return the instance that `step` asks for; `made`: columns written so far, their rows."""
    given = {k: v for k, v in step.items() if k != "kernel"}
    output = given.pop("output", None)
    columns = _columns(kernel, given, place)
    p = kernel.bind(given, place)
    rows = kernel.rows
    if rows == "any":
        kinds = {made.get(c) or ROWS_OF_COLUMN.get(canonical(c), "any") for c in columns}
        rows = kinds.pop() if len(kinds) == 1 else "any"
    return Instance(kernel, p, columns, _outputs(kernel, p, columns, output, place), rows)


def _columns(kernel: Kernel, given: dict[str, Any], place: str) -> tuple[str, ...]:
    chosen = {x.name: x.column for x in kernel.inputs}
    if "column" in given:
        first = kernel.inputs[0].name
        if first in given:
            raise ParameterError(
                f"column is another word for {first}, give one of them; was {given['column']!r}"
                f" and {given[first]!r} ({place})"
            )
        chosen[first] = given.pop("column")
    for name in list(chosen):
        if name in given:
            chosen[name] = given.pop(name)
    for name, column in chosen.items():
        if not isinstance(column, str):
            raise ParameterError(f"{name} must name a column, was {column!r} ({place})")
    return tuple(chosen.values())


def _outputs(
    kernel: Kernel, p: SimpleNamespace, columns: tuple[str, ...], output: Any, place: str
) -> tuple[str, ...]:
    names = [o.name.format(column=columns[0] if columns else "", **vars(p)) for o in kernel.outputs]
    if output is None:
        return tuple(names)
    if isinstance(output, str) and output:
        return (output,) if len(names) == 1 else tuple(f"{output}_{n}" for n in names)
    many = isinstance(output, Sequence) and len(output) == len(names)
    if not many or not all(isinstance(name, str) and name for name in output):
        raise ParameterError(
            f"output must name {len(names)} columns ({', '.join(names)}), was {output!r} ({place})"
        )
    return tuple(output)


def canonical(column: str) -> str:
    """Return the name that the lab itself uses for `column`."""
    return ALIASES.get(column, column)


def find_column(names: Sequence[str], wanted: str, place: str) -> str:
    """Return `wanted` or the alias of it that is among `names`; ColumnError when there is none."""
    if wanted in names:
        if names.count(wanted) > 1:
            raise ColumnError(
                f"column {wanted!r} must be there once, was there {names.count(wanted)} times"
                f" ({place}); name them apart: batch.rename_columns([...])"
            )
        return wanted
    same = [n for n in names if canonical(n) == canonical(wanted)]
    if len(same) == 1:
        return same[0]
    if same:
        raise ColumnError(
            f"{wanted!r} could be any of {', '.join(same)}; name the column ({place})"
        )
    raise ColumnError(
        f"column {wanted!r} must be there, was not among {', '.join(names)} ({place})"
    )


def plan_steps(steps: Sequence[Mapping[str, Any]], place: str) -> list[Instance]:
    """Return the instances of `steps`, in order; errors name the step."""
    instances: list[Instance] = []
    made: dict[str, str] = {}
    for k, step in enumerate(steps):
        where = f"{place}, step {k + 1}" if place else f"step {k + 1}"
        name = step.get("kernel")
        where = where if name != place else place  # a kernel on its own
        definition = catalog.definition(str(name))
        if definition is None:
            raise ParameterError(
                f"kernel must be a known name, was {name!r} ({where}){_nearest(name)}"
            )
        here = where if name == place else f"{where}, {name}"
        parts = _parts(definition, step, made, here)
        for column in parts[-1].outputs:
            if was := _taken(column, parts[-1].outputs, made):
                raise ColumnError(
                    f"output {column!r} must be new, was {was} ({here}); use output='...'"
                )
        instances += parts
        made.update((column, part.rows) for part in parts for column in part.outputs)
    return instances


def _taken(column: str, outputs: Sequence[str], made: Mapping[str, str]) -> str:
    """Return what else has the name of an output, "" where it is free."""
    if column in made:
        return "there already"
    if outputs.count(column) > 1:
        return f"there {outputs.count(column)} times"
    return "a column of ticks" if canonical(column) in SOURCE_KINDS else ""


def _parts(
    kernel: Kernel, step: Mapping[str, Any], made: Mapping[str, str], place: str
) -> list[Instance]:
    """Return the kernel that `step` names, or those it is composed of."""
    if kernel.composed is None:
        return [resolve(kernel, step, made, place)]
    further, steps = kernel.composed
    given = {n: step.get(n) for n in further}
    whole = resolve(kernel, {n: v for n, v in step.items() if n not in further}, made, place)
    chosen = {
        n: spec.check(n, spec.default if given[n] is None else given[n], place)
        for n, spec in further.items()
    }
    p = SimpleNamespace(**vars(whole.p), **chosen)
    parts: list[Instance] = []
    made = dict(made)
    for inner in steps(p, whole.outputs[0], *whole.columns):
        output = inner.get("output", whole.outputs)
        definition = catalog.lookup(inner["kernel"]).definition
        part = resolve(definition, {**inner, "output": output}, made, place)
        parts.append(replace(part, part_of=kernel.name, hidden="output" in inner))
        made.update(dict.fromkeys(part.outputs, part.rows))
    return parts or [whole]


def _nearest(name: Any) -> str:
    import difflib

    near = difflib.get_close_matches(str(name), catalog.kernels(), 1)
    broken = "".join(f"; family {m} is broken: {e}" for m, e in catalog.broken().items())
    return (f"; did you mean {near[0]!r}?" if near else "") + broken


def chain_digest(instances: Sequence[Instance], sources: Mapping[str, bytes]) -> bytes:
    """Return the name of a chain by content: generated steps, parameters, columns, numerics."""
    digest = hashlib.blake2b(digest_size=32, person=b"orrery-chain")
    for part in (NUMERICS, *(i.described() for i in instances)):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    for instance in instances:
        digest.update(sources[instance.kernel.name])
    return digest.digest()

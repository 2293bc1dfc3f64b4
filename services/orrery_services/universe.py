"""The rules of universe.toml: schemas/universe.schema.json, and what it says in plain words."""

import difflib
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from .errors import ConfigError

Flat = dict[str, Any]  # dotted key -> value


@functools.cache
def universe_schema(root: Path) -> dict[str, Any]:
    path = root / "schemas" / "universe.schema.json"
    try:
        return json.loads(path.read_text())
    except OSError as cause:
        raise ConfigError(
            f"{path} must exist, but {cause.strerror}; "
            "run from the repository or set ORRERY_ROOT to it"
        ) from cause


def leaves(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (dotted key, its schema) of every setting that has a default."""
    for name, part in schema["properties"].items():
        if "properties" in part and part.get("type") == "object":
            yield from leaves(part, f"{prefix}{name}.")
        elif "default" in part:
            yield prefix + name, part


def defaults(schema: Mapping[str, Any]) -> Flat:
    return {key: part["default"] for key, part in leaves(schema)}


def flatten(document: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "") -> Flat:
    flat: Flat = {}
    for key, value in document.items():
        part = schema["properties"][key]
        if "properties" in part and isinstance(value, dict):
            flat.update(flatten(value, part, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def check(document: dict[str, Any], schema: dict[str, Any], place: str) -> None:
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    error = jsonschema.exceptions.best_match(errors)
    if error is not None:
        raise ConfigError(explain(error, place))


def explain(error: jsonschema.ValidationError, place: str) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties" and error.validator_value is False:
        allowed = error.schema["properties"]
        extra = sorted(set(error.instance) - set(allowed))[0]
        return f"{unknown(f'{where}.{extra}'.lstrip('.'), where or 'it', allowed)} ({place})"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))[0]
        return f"{f'{where}.{missing}'.lstrip('.')} must be set, was missing ({place})"
    rule = {
        "type": f"be of type {error.validator_value}",
        "minimum": f"be at least {error.validator_value}",
        "maximum": f"be at most {error.validator_value}",
        "pattern": f"match {error.validator_value}",
    }.get(str(error.validator), f"hold {error.validator} = {error.validator_value}")
    return f"{where} must {rule}, was {error.instance!r} ({place})"


def unknown(key: str, table: str, allowed: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], list(allowed), n=1)
    hint = (
        f"; did you mean {near[0]!r}?" if near else f"; {table} knows {', '.join(sorted(allowed))}"
    )
    return f"unknown setting {key!r}{hint}"

"""JSON schemas: what OpenAI's strict mode takes of them, and what keeps a value from fitting one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from agno_mongo.errors import ConfigurationError

MANY: Final = 20
"""Faults that are told at once."""

_IS: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _IS["number"](value) and (isinstance(value, int) or value.is_integer()),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}

# Strict mode: https://platform.openai.com/docs/guides/structured-outputs, "Supported schemas".
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_TAKEN: Final = frozenset(
    {"type", "enum", "const", "description", "pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum"}
    | {"exclusiveMaximum", "minItems", "maxItems", "required", "additionalProperties", "title"}
)
_LEFT_OUT: Final = frozenset(
    {"default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator", "minLength", "maxLength", "uniqueItems"}
    | {"contentMediaType", "contentEncoding", "$comment", "$schema", "$id"}
)
"""Strict mode has no word for them. They limit values and not the form: the answer is checked against them all the same."""


class _NotStrictError(Exception):
    """The schema says what strict mode cannot say."""


def strict(schema: Mapping[str, Any], *, titles: bool = False) -> dict[str, Any] | None:
    """The schema in the form that strict mode takes: every field required, no others allowed. None if it has no such form.

    A field with a default becomes one that the model must fill in. What strict mode cannot say: any value at all, a dict with keys of the
    model's own, tuples, ``allOf`` of several, ``not``, conditions.
    """
    try:
        return _strict(schema, titles=titles)
    except _NotStrictError:
        return None


def with_root(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, and if it is no more than a reference to one of its definitions (as a recursive model's is), that one in its place."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return dict(schema)
    return {**{key: part for key, part in schema.items() if key != "$ref"}, **_resolved(reference, schema)}


def check_schema(schema: Mapping[str, Any], *, where: str) -> None:
    """Raise ConfigurationError for an unknown type, and for a reference that leads nowhere; ``where`` is what the error calls the schema."""
    for part in _parts(schema):
        types = part.get("type", [])
        for kind in [types] if isinstance(types, str) else types:
            if kind not in _IS:
                raise ConfigurationError(f"{where} has the type {kind!r}; JSON has {', '.join(_IS)}")
        reference = part.get("$ref")
        if isinstance(reference, str) and _resolved(reference, schema) is None:
            raise ConfigurationError(f"{where} refers to {reference!r}, which is not in it")


def faults(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What keeps ``value`` from fitting ``schema``, one text for each fault, the place first; empty if it fits. At most 20.

    Types, enum, const, fields, items, lengths, limits, patterns, references within the schema, ``anyOf``, ``oneOf`` and ``allOf``
    are checked. Formats, conditions and rarer words are not.
    """
    return list(islice(_Check(schema).faults(value, schema, ()), MANY))


def _strict(schema: Any, *, titles: bool) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _NotStrictError
    made: dict[str, Any] = {}
    for key, part in schema.items():
        if key in {"anyOf", "oneOf"}:
            made["anyOf"] = [_strict(entry, titles=titles) for entry in part]
        elif key == "allOf" and len(part) == 1:
            made |= _strict(part[0], titles=titles)
        elif key in {"properties", "$defs", "definitions"}:
            made[key] = {name: _strict(entry, titles=titles) for name, entry in part.items()}
        elif key == "items":
            made[key] = _strict(part, titles=titles)
        elif key in _TAKEN or key == "$ref":
            made[key] = part
        elif key not in _LEFT_OUT:
            raise _NotStrictError
    if not titles:
        made.pop("title", None)
    return _closed(_plain(made))


def _plain(made: dict[str, Any]) -> dict[str, Any]:
    """Without patterns and formats that strict mode does not know, and with a type where values say it."""
    if made.get("format") not in _FORMATS:
        made.pop("format", None)
    if "(?" in made.get("pattern", ""):
        del made["pattern"]
    if "type" not in made and ("enum" in made or "const" in made):
        values = made["enum"] if "enum" in made else [made["const"]]
        kinds = sorted({next(name for name, fits in _IS.items() if fits(value)) for value in values})
        made["type"] = kinds[0] if len(kinds) == 1 else kinds
    return made


def _closed(made: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in made:
        # Nothing may stand beside a reference, save definitions at the top.
        beside = {key: part for key, part in made.items() if key in {"description", "title"}}
        return {"anyOf": [{"$ref": made["$ref"]}], **beside} if beside else {"$ref": made["$ref"]}
    if "object" in _types(made):
        if "properties" not in made or made.get("additionalProperties", False) is not False:
            raise _NotStrictError
        fields, required = made["properties"], made.get("required", [])
        every = required if len(required) == len(fields) and set(required) == set(fields) else list(fields)
        return {**made, "required": every, "additionalProperties": False}
    if "array" in _types(made) and "items" not in made:
        raise _NotStrictError
    if not _types(made) and "anyOf" not in made:
        raise _NotStrictError
    return made


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    types = schema.get("type", ())
    return (types,) if isinstance(types, str) else tuple(types)


class _Check:
    """A schema with what its references stand for."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def faults(self, value: Any, schema: Any, path: tuple[str, ...], followed: tuple[str, ...] = ()) -> Iterator[str]:
        """``followed`` are the references that led from this very value to ``schema``."""
        if schema is False:
            yield _at(path, "must not be there")
        if not isinstance(schema, Mapping):
            return
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in followed:
            yield from self.faults(value, _resolved(reference, self._root), path, (*followed, reference))
        types = _types(schema)
        if types and not any(_IS[kind](value) for kind in types):
            yield _at(path, f"must be of type {' or '.join(types)}, not {_kind(value)}")
            return
        if "enum" in schema and not any(_same(value, entry) for entry in schema["enum"]):
            yield _at(path, f"must be one of {schema['enum']!r}")
        if "const" in schema and not _same(value, schema["const"]):
            yield _at(path, f"must be {schema['const']!r}")
        if isinstance(value, dict):
            yield from self._of_fields(value, schema, path)
        elif isinstance(value, list):
            yield from self._of_items(value, schema, path)
        else:
            yield from (_at(path, fault) for fault in _of_limits(value, schema))
        yield from self._of_forms(value, schema, path, followed)

    def _of_fields(self, value: Mapping[str, Any], schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
        yield from (_at((*path, name), "is missing") for name in schema.get("required", ()) if name not in value)
        fields = schema.get("properties", {})
        # Names that only a pattern allows are not told apart here.
        further = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        for name, part in value.items():
            if name in fields:
                yield from self.faults(part, fields[name], (*path, name))
            elif further is False:
                yield _at((*path, name), "is none of the fields that were asked for")
            else:
                yield from self.faults(part, further, (*path, name))

    def _of_items(self, value: Sequence[Any], schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
        first = schema.get("prefixItems", ())
        for index, part in enumerate(value):
            entry = first[index] if index < len(first) else schema.get("items", True)
            yield from self.faults(part, entry, (*path, str(index)))
        yield from (_at(path, fault) for fault in _of_length(len(value), schema, "Items", "items"))

    def _of_forms(self, value: Any, schema: Mapping[str, Any], path: tuple[str, ...], followed: tuple[str, ...]) -> Iterator[str]:
        for part in schema.get("allOf", ()):
            yield from self.faults(value, part, path, followed)
        for key, allowed in (("anyOf", range(1, 1000)), ("oneOf", range(1, 2))):
            if key in schema:
                found = [next(self.faults(value, part, path, followed), None) for part in schema[key]]
                if found.count(None) not in allowed:
                    told = "; ".join(dict.fromkeys(fault for fault in found if fault))
                    yield _at(path, f"fits {found.count(None)} of the {len(found)} forms it may have ({told})")


def _of_limits(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Faults of a text or a number."""
    if isinstance(value, str):
        yield from _of_length(len(value), schema, "Length", "characters")
        if "pattern" in schema and not _matches(schema["pattern"], value):
            yield f"must match {schema['pattern']!r}"
    if not _IS["number"](value):
        return
    if "minimum" in schema and value < schema["minimum"]:
        yield f"must be at least {schema['minimum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"must be greater than {schema['exclusiveMinimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield f"must be at most {schema['maximum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield f"must be less than {schema['exclusiveMaximum']}"


def _of_length(length: int, schema: Mapping[str, Any], suffix: str, unit: str) -> Iterator[str]:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if least is not None and length < least:
        yield f"must have at least {least} {unit}, not {length}"
    if most is not None and length > most:
        yield f"must have at most {most} {unit}, not {length}"


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        # Another dialect of regular expressions: nothing can be said.
        return True


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(part, other[key]) for key, part in one.items())
    return bool(one == other)


def _kind(value: Any) -> str:
    return next((name for name, fits in _IS.items() if fits(value)), type(value).__name__)


def _at(path: Sequence[str], fault: str) -> str:
    return f"{'.'.join(path) or 'the answer'}: {fault}"


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    """What a reference within ``root`` stands for; None if there is nothing."""
    found: Any = root
    if not reference.startswith("#"):
        return None
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """The schema and all schemas within it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key, part in schema.items():
        if key in {"properties", "$defs", "definitions"} and isinstance(part, Mapping):
            for entry in part.values():
                yield from _parts(entry)
        elif key in {"anyOf", "oneOf", "allOf", "prefixItems"} and isinstance(part, Sequence):
            for entry in part:
                yield from _parts(entry)
        elif key in {"items", "additionalProperties"}:
            yield from _parts(part)

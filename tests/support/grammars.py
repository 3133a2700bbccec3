"""Random regular expressions and JSON schemas, as functions of a seed, with what decides whether a text matches."""

from __future__ import annotations

import json
import random
import re
from typing import Any


def regex(seed: int) -> str:
    """A regular expression that Python and llguidance read alike."""
    r = random.Random(seed)
    return _alternatives(r, 3)


def _alternatives(r: random.Random, depth: int) -> str:
    n = r.choice([1, 1, 2, 3]) if depth else 1
    return "|".join(_sequence(r, depth) for _ in range(n))


def _sequence(r: random.Random, depth: int) -> str:
    return "".join(
        _atom(r, depth) + r.choice(["", "", "", "?", "+", "*", "{2}", "{1,3}"]) for _ in range(r.randint(1, 4))
    )


def _atom(r: random.Random, depth: int) -> str:
    if depth and r.random() < 0.3:
        return f"(?:{_alternatives(r, depth - 1)})"
    return r.choice(
        ["[a-z]", "[0-9]", "[A-F0-9]", "[^a-z]", "ab", "x", "the", " ", "-", r"\.", "é", "[αβγ]", "日本", "😀"]
    )


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def schema(seed: int) -> dict[str, Any]:
    return _schema(random.Random(seed), 3)


def _schema(r: random.Random, depth: int) -> dict[str, Any]:
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "limited", "length", "pattern"]
    kind = r.choice([*kinds, *(["object", "object", "array", "anyOf"] if depth else [])])
    if kind == "enum":
        return {"enum": r.sample(["a", "b c", 1, 2.5, None, True, "ü", 'q"'], r.randint(1, 4))}
    if kind == "const":
        return {"const": r.choice(["fixed", 7, None, False, ["x", 1], {"k": 0}])}
    if kind == "limited":
        low = r.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + r.randint(0, 200)}
    if kind == "length":
        low = r.randint(0, 3)
        return {"type": "string", "minLength": low, "maxLength": low + r.randint(0, 5)}
    if kind == "pattern":
        return {"type": "string", "pattern": r.choice(["^[a-z]{2,5}$", "^[0-9]{4}-[0-9]{2}$", "^(yes|no)$"])}
    if kind == "object":
        names = r.sample(["name", "age", "tags", "x y", "ä", "id", "n"], r.randint(0, 4))
        properties = {name: _schema(r, depth - 1) for name in names}
        required = [name for name in names if r.random() < 0.6]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if kind == "array":
        low = r.randint(0, 2)
        return {"type": "array", "items": _schema(r, depth - 1), "minItems": low, "maxItems": low + r.randint(0, 2)}
    if kind == "anyOf":
        return {"anyOf": [_schema(r, depth - 1) for _ in range(r.randint(1, 3))]}
    return {"type": kind}


def is_valid(schema: dict[str, Any], text: str) -> bool:
    import jsonschema

    try:
        value = json.loads(text)
    except ValueError:
        return False
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))

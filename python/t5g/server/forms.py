"""What form an answer is to have: OpenAI's ways to ask for JSON, to the option `json_schema` of t5g."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from t5g import arguments
from t5g.server.errors import wrong

if TYPE_CHECKING:
    from t5g.server.bodies import Fields


def written_form(
    fields: Fields, elsewhere: Fields | None, given: Mapping[str, Any], field_names: dict[str, str]
) -> dict[str, Any]:
    """Take `response_format`, or a form that responses have elsewhere; `field_names` learns the option's name there."""
    in_chats = fields.inner("response_format")
    form = in_chats or elsewhere
    if form is None:
        return {}
    if in_chats is not None and elsewhere is not None:
        raise wrong(elsewhere.name, f"{elsewhere.name}: is there beside {in_chats.name}. Leave one out.")
    schema = _schema(form, is_flat=in_chats is None)
    if schema is None:
        return {}
    if "json_schema" in given:
        raise wrong(form.name, f"{form.name}: is there beside json_schema. Leave one out.")
    field_names["json_schema"] = form.name
    return {"json_schema": schema}


def _schema(form: Fields, *, is_flat: bool) -> dict[str, Any] | None:
    """What JSON a form asks for, if any. is_flat: the schema is beside the type, not in an object of its own."""
    name, kind = form.name, form.take("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise wrong(name, f"{name}: must have the type text, json_object or json_schema, got {arguments.found(kind)}.")
    if kind == "json_schema":
        return _given_schema(form, is_flat=is_flat)
    form.done()
    return {"type": "object"} if kind == "json_object" else None


def _given_schema(form: Fields, *, is_flat: bool) -> dict[str, Any]:
    inner = form if is_flat else form.inner("json_schema")
    if inner is not form:
        form.done()
    schema = None if inner is None else inner.take("schema")
    if inner is not None:
        inner.ignore("name", "description", "strict")  # the answer always keeps to it
        inner.done()
    if not isinstance(schema, dict):
        where = "schema" if is_flat else "json_schema.schema"
        raise wrong(form.name, f"{form.name}: must have {where}, an object, got {arguments.found(schema)}.")
    return schema

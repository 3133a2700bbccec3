"""/tokenize and /detokenize: what a text is to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t5g import arguments
from t5g.errors import T5gError
from t5g.server.bodies import Fields, read_json
from t5g.server.errors import as_api_error, wrong
from t5g.server.events import Json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from t5g.server.engine import Engine
    from t5g.tokenizer import Tokenizer

_NO_CHARACTER = "\N{REPLACEMENT CHARACTER}"


class Tokens:
    """The two endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize: {"content": text} to {"tokens": ids, "count": n}."""
        body = await read_json(request)
        fields = Fields(body)
        given = fields.several(("content", "text", "prompt"))
        flags = {
            "add_special_tokens": fields.flag("add_special_tokens", fields.flag("add_special", True)),
            "parse_special": fields.flag("parse_special"),
        }
        if body.get("add_special") is not None and body.get("add_special_tokens") is not None:
            raise wrong("add_special", "add_special: is there beside add_special_tokens. Leave one out.")
        with_pieces = fields.flag("with_pieces")
        fields.ignore("model")
        fields.done()
        if len(given) != 1:
            raise wrong("content", "content: must be a text to tokenise, once.")
        ((name, content),) = given.items()
        arguments.text(name, content)
        tokenizer = self._engine.model.tokenizer
        ids = await self._engine.in_thread(lambda: tokenizer.encode(content, **flags))
        answer: dict[str, object] = {"tokens": ids, "count": len(ids)}
        if with_pieces:
            answer["pieces"] = await self._engine.in_thread(pieces, tokenizer, ids)
        return Json(answer)

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize: {"tokens": ids} to {"content": text}."""
        fields = Fields(await read_json(request))
        ids = fields.take("tokens")
        skip, with_pieces = fields.flag("skip_special_tokens"), fields.flag("with_pieces")
        fields.ignore("model")
        fields.done()
        if not isinstance(ids, list):
            raise wrong("tokens", f"tokens: must be a list of token ids, got {arguments.found(ids)}.")
        tokenizer = self._engine.model.tokenizer

        def decode() -> str:
            try:
                return tokenizer.decode(ids, skip_special_tokens=skip)
            except T5gError as error:
                raise as_api_error(error, "tokens", {"ids": "tokens"}) from None

        text = await self._engine.in_thread(decode)
        answer: dict[str, object] = {"content": text}
        if with_pieces:
            answer["pieces"] = await self._engine.in_thread(pieces, tokenizer, ids)
        return Json(answer)


def is_part(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token is part of a character only."""
    return _NO_CHARACTER in tokenizer.decode([token], skip_special_tokens=False)


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text of each token; of several that make up a character together, the first has it and the others nothing."""
    found: list[str] = []
    run: list[int] = []

    def end_run() -> None:
        if run:
            found.extend([tokenizer.decode(run, skip_special_tokens=False), *[""] * (len(run) - 1)])
            run.clear()

    for token in ids:
        text = tokenizer.decode([token], skip_special_tokens=False)
        if _NO_CHARACTER in text:
            run.append(token)
            continue
        end_run()
        found.append(text)
    end_run()
    return found

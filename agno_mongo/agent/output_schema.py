"""Structured output: what an answer must look like, how the model is told, and what becomes of its text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError

from agno_mongo import json_schema
from agno_mongo.errors import ConfigurationError, OutputSchemaError
from agno_mongo.messages import Message
from agno_mongo.models.base import Model, ModelRequest
from agno_mongo.run.message_run import MessageRunOutput

Schema: TypeAlias = "type[BaseModel] | Mapping[str, Any]"

_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_FENCED: Final = re.compile(r"```[\w-]*\s(.*?)```", re.DOTALL)
_REFUSAL: Final = "refusal"
_JSON_MODE: Final[Mapping[str, Any]] = {"type": "json_object"}


class _MisfitError(Exception):
    """An answer that does not fit; ``faults`` are for the model."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults)
        self.faults = faults


@dataclass(frozen=True, kw_only=True)
class OutputSchema:
    """What answers must look like. ``schema`` is it as JSON schema, ``model`` the pydantic class, if it was one that was given.

    ``native`` is the provider's ``response_format``, ``instruction`` what the system message says where the provider is not given the schema.
    """

    name: str
    schema: Mapping[str, Any]
    model: type[BaseModel] | None
    native: Mapping[str, Any]
    instruction: str

    @property
    def content_type(self) -> str:
        """What a run's ``content_type`` says of an answer that fits."""
        return "dict" if self.model is None else self.model.__name__

    def parsed(self, text: str) -> Any:
        """The answer as an instance of the model, or as a dict. JSON in a code fence, or with words around it, is taken too.

        Raises _MisfitError with what is wrong.
        """
        faults: list[str] = []
        for candidate in _candidates(text):
            try:
                return self._read(candidate)
            except _MisfitError as misfit:
                faults = faults or misfit.faults
            except (ValueError, RecursionError):
                continue
        raise _MisfitError(faults or ["the answer is no JSON object" if text.strip() else "the answer is empty"])

    def _read(self, text: str) -> Any:
        """Raises ValueError if the text is no JSON object."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("no object")  # noqa: TRY004 - as for text that is no JSON at all
        if self.model is None:
            if faults := json_schema.faults(value, self.schema):
                raise _MisfitError(faults)
            return value
        try:
            return self.model.model_validate_json(text)
        except ValidationError as error:
            raise _MisfitError(faults_of(error, "the answer")) from error


def output_schema(given: Any) -> OutputSchema:
    """The schema that a user gave: a pydantic model class, a JSON schema, or a ``response_format`` of OpenAI's with one in it.

    Raises ConfigurationError for anything else, and for a schema whose answers are no objects: no provider takes such.
    """
    if isinstance(given, type) and issubclass(given, BaseModel):
        return _of_model(given)
    if isinstance(given, Mapping) and given:
        return _of_dict(given)
    shown = given.__name__ if isinstance(given, type) else repr(given)
    raise ConfigurationError(f"output_schema= takes a pydantic model class or a JSON schema, not {shown}")


@lru_cache(maxsize=256)
def _of_model(model: type[BaseModel]) -> OutputSchema:
    try:
        schema = model.model_json_schema()
    except (PydanticUserError, ValueError, TypeError) as error:
        raise ConfigurationError(f"output_schema={model.__name__}: no JSON schema can be made of it: {error}") from error
    schema = _rooted(schema, f"output_schema={model.__name__}")
    strict = json_schema.strict(schema)
    return _made(model.__name__, schema, strict or schema, is_strict=strict is not None, model=model)


def _of_dict(given: Mapping[str, Any]) -> OutputSchema:
    format_given = given.get("json_schema") if given.get("type") == "json_schema" else None
    if isinstance(format_given, Mapping):
        schema = _rooted(format_given.get("schema") or {}, "output_schema")
        return _made(str(format_given.get("name") or "answer"), schema, schema, native=given)
    schema = _rooted(given, "output_schema")
    # It is sent as it was given, and strictly where that is possible.
    is_strict = json_schema.strict(schema, titles=True) == schema
    return _made(str(schema.get("title") or "answer"), schema, schema, is_strict=is_strict)


def _rooted(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    json_schema.check_schema(schema, where=where)
    rooted = json_schema.with_root(schema)
    if rooted.get("type") != "object":
        raise ConfigurationError(
            f"{where}: an answer is an object with fields; put a list, a union or a plain value into a field of one"
        )
    return rooted


def _made(
    name: str,
    schema: Mapping[str, Any],
    sent: Mapping[str, Any],
    *,
    is_strict: bool = False,
    model: type[BaseModel] | None = None,
    native: Mapping[str, Any] | None = None,
) -> OutputSchema:
    name = _NAME.sub("_", name)[:64]
    return OutputSchema(
        name=name,
        schema=schema,
        model=model,
        native=native or {"type": "json_schema", "json_schema": {"name": name, "schema": sent, "strict": is_strict}},
        instruction=(
            "Answer with one JSON object and nothing else: no words before or after it, no code fence. It must fit this JSON schema:\n"
            f"<json_schema>\n{json.dumps(schema, ensure_ascii=False, separators=(',', ':'))}\n</json_schema>"
        ),
    )


class StructuredAnswer:
    """One run's way to an answer that fits its schema.

    ``natively``: the provider is given the schema; else JSON mode, and the system message says it. Without ``parse`` the answer stays the
    text that it is.
    """

    def __init__(self, schema: OutputSchema, model: Model, *, natively: bool, parse: bool) -> None:
        self._schema = schema
        self._model = model
        self._natively = natively and _takes_schemas(model)
        self._parse = parse
        self._told = False

    @property
    def response_format(self) -> Mapping[str, Any]:
        """What the model's request says of the answer's form."""
        return self._schema.native if self._natively else _JSON_MODE

    def instruct(self, messages: list[Message]) -> None:
        """Put the schema at the end of the system message, where the provider is not given it."""
        if not self._natively:
            self._say(messages)

    def fitted(self, request: ModelRequest, model: Model) -> ModelRequest:
        """The request as it is for ``model``, which is asked in the place of the run's own: in words, if it takes no schema."""
        if request.response_format is not self._schema.native or _takes_schemas(model):
            return request
        messages = list(request.messages)
        self._say(messages)
        return replace(request, messages=messages, response_format=_JSON_MODE)

    def _say(self, messages: list[Message]) -> None:
        system = messages[0] if messages and messages[0].role in {"system", "developer"} else None
        if system is None:
            messages.insert(0, Message(role="system", content=self._schema.instruction))
        elif self._schema.instruction not in system.get_content_string():
            # It is there where the message is one of the input's, and the run goes on.
            said = f"{system.get_content_string()}\n\n{self._schema.instruction}"
            messages[0] = system.model_copy(update={"content": said})

    def take(self, run: MessageRunOutput, text: str) -> Message | None:
        """Make the run's ``content`` the object that the answer stands for. If it does not fit: what the model is told, once.

        A refusal stays the text that it is: the model will not answer, in whatever form. Raises OutputSchemaError if the model has been told already; the run's ``content`` is then the text.
        """
        if not self._parse:
            return None
        try:
            run.content = self._schema.parsed(text)
        except _MisfitError as misfit:
            if run.finish_reason == _REFUSAL:
                return None
            return self._complaint(text, misfit.faults)
        run.content_type = self._schema.content_type
        return None

    def take_result(self, run: MessageRunOutput) -> None:
        """Where a tool's result is the run's answer: the object that it stands for, or the text that it is."""
        if not self._parse or not isinstance(run.content, str) or not run.messages or run.messages[-1].role != "tool":
            return
        with suppress(_MisfitError):
            run.content = self._schema.parsed(run.content)
            run.content_type = self._schema.content_type

    def _complaint(self, text: str, faults: list[str]) -> Message:
        if self._told:
            raise OutputSchemaError(
                f"{self._model.id} gave no answer that fits {self._schema.name}, not when it was told what was wrong either: {'; '.join(faults)}",
                model=self._model.id,
                answer=text,
                errors=faults,
            )
        self._told = True
        listed = "\n".join(f"- {fault}" for fault in faults)
        wanted = "Answer again, with the whole corrected JSON object and nothing else."
        said = f"Your answer does not fit the schema that it must fit:\n{listed}\n{wanted}"
        return Message(role="user", content=said, misfit=True)


def _takes_schemas(model: Model) -> bool:
    return bool(getattr(model, "supports_native_structured_outputs", False))


def faults_of(error: ValidationError, whole: str) -> list[str]:
    """What a validation found, one text for each fault, the field first; ``whole`` is what a fault of no field is one of."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{'.'.join(map(str, fault['loc'])) or whole}: {fault['msg']}" for fault in found[: json_schema.MANY]]


def _candidates(text: str) -> Iterator[str]:
    """Where the JSON may be: all of the text, what a reasoning model says after its thoughts, a code fence, from brace to brace."""
    yield text
    said = text.rpartition("</think>")[2]
    if said != text:
        yield said
    yield from (match[1] for match in _FENCED.finditer(said))
    start, end = said.find("{"), said.rfind("}")
    if -1 < start < end:
        yield said[start : end + 1]

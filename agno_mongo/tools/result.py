"""What a tool gives back, and how the model is told of it."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

from agno_mongo.messages import text_of
from agno_mongo.run.base import BaseRunOutput


class ToolResult(BaseModel):
    """A tool's result in parts. ``content`` is what the model is told; ``metadata`` is for hooks, and is not stored."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    content: str
    metadata: dict[str, Any] | None = None


def result_text(result: Any) -> str:
    """A tool's result as text for the model.

    Text as it is; pydantic models, dataclasses and plain data as JSON; a ToolResult's or a run's content; dates, UUIDs and the like without
    quotes around them; bytes as the text they are, or as a note; anything else by ``str``. It always gives one.
    """
    if isinstance(result, str):
        return result
    if isinstance(result, (ToolResult, BaseRunOutput)):
        return result_text(result.content)
    if isinstance(result, (bytes, bytearray, memoryview)):
        return _bytes_text(bytes(result))
    try:
        return json.dumps(result, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - no plain data, or somebody's own classes among it
        return _other_text(result)


def _other_text(result: Any) -> str:
    try:
        plain = to_jsonable_python(result, exclude_none=isinstance(result, BaseModel), fallback=text_of, inf_nan_mode="constants")
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - whatever the code of somebody's class raises
        return text_of(result)


def _bytes_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"[{len(data)} bytes that are no text]"

"""Messages as the Responses API's input items, and its output items as what a message keeps of them. Pure functions.

A message has the text of an answer and its tool calls. What else comes out (a model's encrypted thoughts, calls of the provider's own tools) stays in its
``provider_data["output"]``, in order and without what the message has anyway, so that the next round of the same turn can send all of it back:
a reasoning model refuses its own tool calls without the thoughts that led to them. Later turns are sent texts, tool calls and their results only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agno_mongo.messages import Message
from agno_mongo.models.base import ModelDelta
from agno_mongo.models.openai import parts

Item = dict[str, Any]

_PARTS = {"text": "input_text", "image_url": "input_image", "file": "input_file"}


def input_items(messages: Sequence[Message], *, roles: Mapping[str, str], model: str) -> list[Item]:
    """The conversation as input items. ``model`` is the id of the model that is asked: nobody else's thoughts are sent to it."""
    last_user = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    items: list[Item] = []
    for index, (message, returned) in enumerate(parts.after_tools(messages)):
        if message.role == "tool":
            items.append({"type": "function_call_output", "call_id": message.tool_call_id, "output": _parts(message) or ""})
        elif message.role == "assistant":
            this_turn = index > last_user and not message.from_history
            items += _answer_items(message, model=model, this_turn=this_turn)
        else:
            items.append({"role": roles.get(message.role, message.role), "content": _parts(message) or ""})
        if returned:
            shown = parts.of_tools(returned)
            items.append({**shown, "content": [_part(part) for part in shown["content"]]})
    return items


def _parts(message: Message) -> str | list[Item] | None:
    """The content in the words of this API; parts that are its own already, or of a kind unknown here, as they are."""
    content = parts.chat_content(message)
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: Any) -> Item:
    if not isinstance(part, Mapping):
        return {"type": "input_text", "text": str(part)}
    kind = str(part.get("type"))
    if kind not in _PARTS:
        return dict(part)
    inner = part.get(kind)
    if kind == "text":
        return {"type": "input_text", "text": inner}
    fields = dict(inner) if isinstance(inner, Mapping) else {"url": inner}
    if kind == "image_url":
        fields["image_url"] = fields.pop("url", None)
        fields.setdefault("detail", "auto")
    return {"type": _PARTS[kind], **fields}


def _answer_items(message: Message, *, model: str, this_turn: bool) -> list[Item]:
    """An earlier answer: item by item as it came if that can be, else its text and its tool calls."""
    kept = message.provider_data or {}
    output = kept.get("output")
    if isinstance(output, list) and kept.get("model") == model:
        as_it_came = _as_it_came(output, message, this_turn=this_turn)
        if as_it_came is not None:
            return as_it_came
    items: list[Item] = []
    if message.content or not message.tool_calls:
        items.append({"role": "assistant", "content": message.get_content_string()})
    return items + [_call_item(call) for call in message.tool_calls or ()]


def _call_item(call: Mapping[str, Any]) -> Item:
    function = call.get("function") or {}
    return {
        "type": "function_call",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments") or "{}",
    }


def _as_it_came(output: Iterable[Any], message: Message, *, this_turn: bool) -> list[Item] | None:
    """The items of an answer; None if the message has other tool calls by now, or if thoughts cannot be told again."""
    calls = {call.get("id"): call for call in message.tool_calls or ()}
    items: list[Item] = []
    for kept in output:
        kind = kept.get("type")
        if kind == "function_call":
            call = calls.pop(kept.get("call_id"), None)
            if call is None:
                return None
            items.append(_call_item(call) | ({"id": kept["id"]} if this_turn and kept.get("id") else {}))
        elif kind == "message":
            items.append(_message_item(kept, message, this_turn=this_turn))
        elif this_turn:
            if kind == "reasoning" and not (kept.get("encrypted_content") or kept.get("content")):
                return None
            items.append(dict(kept))
    return None if calls else items


def _message_item(kept: Mapping[str, Any], message: Message, *, this_turn: bool) -> Item:
    text = kept.get("text", message.get_content_string())
    phase = {"phase": kept["phase"]} if kept.get("phase") else {}
    if not (this_turn and kept.get("id")):
        return {"role": "assistant", "content": text, **phase}
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "id": kept["id"], "status": "completed", "content": content, **phase}


# What comes out.


def text_of_item(item: Any) -> str:
    """The text of a message among the output items, refusals included."""
    return "".join(getattr(part, "text", None) or getattr(part, "refusal", None) or "" for part in item.content or ())


def texts_of(output: Sequence[Any]) -> ModelDelta:
    """All that is said among the output items, and all that is thought."""
    said = (text_of_item(item) for item in output if item.type == "message")
    thought = (thoughts_of(item) for item in output if item.type == "reasoning")
    return ModelDelta(
        content="\n\n".join(filter(None, said)) or None, reasoning_content="\n\n".join(filter(None, thought)) or None
    )


def is_refusal(item: Any) -> bool:
    """True if a message among the output items refuses."""
    return item.type == "message" and any(part.type == "refusal" for part in item.content or ())


def tool_call_of(item: Any) -> Item:
    """A function call among the output items, in the shape that messages have."""
    function = {"name": item.name, "arguments": item.arguments}
    return {"id": item.call_id or item.id, "type": "function", "function": function}


def thoughts_of(item: Any) -> str:
    """The summary of a reasoning item, or its text where a server gives that."""
    parts = item.summary or item.content or ()
    return "\n\n".join(part.text for part in parts)


def kept_output(output: Sequence[Any]) -> list[Item] | None:
    """The output items as a message keeps them; None where text and tool calls say it all."""
    messages = [item for item in output if item.type == "message"]
    others = [item for item in output if item.type not in {"message", "function_call"}]
    if not others and len(messages) <= 1 and not any(getattr(item, "phase", None) for item in messages):
        return None
    return [_kept(item, with_text=len(messages) > 1) for item in output]


def _kept(item: Any, *, with_text: bool) -> Item:
    if item.type == "function_call":
        return {"type": item.type, "id": item.id, "call_id": item.call_id or item.id}
    if item.type == "message":
        kept = {"type": item.type, "id": item.id, "phase": getattr(item, "phase", None)}
        kept |= {"text": text_of_item(item)} if with_text else {}
        return {name: value for name, value in kept.items() if value is not None}
    whole: Item = item.model_dump(mode="json", exclude_none=True, warnings=False)
    return whole


def beside_text(output: Sequence[Any], name: str) -> list[Item]:
    """What an answer's texts come with: ``annotations`` (web pages, files), or the ``logprobs`` of their tokens."""
    parts = [part for item in output if item.type == "message" for part in item.content or ()]
    return [
        found.model_dump(mode="json", exclude_none=True, warnings=False)
        for part in parts
        for found in getattr(part, name, None) or ()
    ]

"""Stored documents of earlier shapes, lifted to today's one step at a time.

Agno wrote three shapes of session before: runs nested as they are here (2.x), ``runs`` absent because they stand in a
collection of their own (3.x), and ``memory.runs`` with the bare answers (1.x). Each lift takes a document and changes what differs;
none needs the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

SCHEMA_VERSION = 1


def upcast(document: dict[str, Any]) -> dict[str, Any]:
    """The document in today's shape. A document of a newer version than ours is left as it is."""
    version = document.get("schema_version") or 0
    if version < SCHEMA_VERSION:
        document = dict(document)
        for lift in _LIFTS[version:]:
            lift(document)
        document["schema_version"] = SCHEMA_VERSION
    return document


def _from_agno(document: dict[str, Any]) -> None:
    """Agno's documents: values that may be JSON text, fields that may be absent or null."""
    for name in ("session_data", "agent_data", "team_data", "workflow_data", "metadata", "summary", "runs", "memory"):
        if isinstance(value := document.get(name), str):
            document[name] = json.loads(value)
    if document.get("runs") is None and (memory := document.pop("memory", None)):
        document["runs"] = [_run_of_memory(entry) for entry in memory.get("runs") or ()]
    document["metadata"] = document.pop("extra_data", None) or document.get("metadata")
    document["session_type"] = document.get("session_type") or _session_type(document)
    data = {name: value for name, value in (document.get("session_data") or {}).items() if value is not None}
    if "session_metrics" in data:
        data["session_metrics"] = _lifted_counters(data["session_metrics"])
    document["session_data"] = {"session_state": {}, **data}
    document["created_at"] = document.get("created_at") or document.get("updated_at") or 0
    runs = document["runs"] = [_lifted_run(run) for run in document.get("runs") or ()]
    document["run_count"] = max(document.get("run_count") or 0, len(runs))
    document["active_runs"] = document.get("active_runs") or {}


def _session_type(document: dict[str, Any]) -> str:
    for kind in ("workflow", "team"):
        if document.get(f"{kind}_id") is not None or document.get(f"{kind}_session_id") is not None:
            return kind
    return "agent"


def _run_of_memory(entry: dict[str, Any]) -> dict[str, Any]:
    """Agno 1 kept a run as ``{message, response}``, or as the response itself."""
    run = dict(entry.get("response") or entry)
    if "input" not in run and (message := entry.get("message")):
        run["input"] = {"input_content": message.get("content")}
    return run


def _lifted_run(run: dict[str, Any] | str) -> dict[str, Any]:
    lifted: dict[str, Any] = json.loads(run) if isinstance(run, str) else deepcopy(run)
    # Before there was a status, what was stored was finished.
    lifted.setdefault("status", "COMPLETED")
    if isinstance(lifted.get("status"), str):
        lifted["status"] = lifted["status"].upper().removeprefix("RUNSTATUS.")
    for measured in (lifted, *(lifted.get("messages") or ())):
        if isinstance(measured, dict) and isinstance(metrics := measured.get("metrics"), dict):
            measured["metrics"] = {name: _total(value) for name, value in metrics.items()}
    return lifted


def _lifted_counters(metrics: Any) -> dict[str, Any]:
    """A session's metrics, to which every run adds: what is not there yet may be absent, but not null."""
    if not isinstance(metrics, dict):
        return {}
    return {name: _total(value) for name, value in metrics.items() if value is not None}


def _total(value: Any) -> Any:
    """Agno 1 kept a list of counts, one for every request."""
    return sum(value) if isinstance(value, list) and all(isinstance(count, (int, float)) for count in value) else value


_LIFTS: tuple[Callable[[dict[str, Any]], None], ...] = (_from_agno,)

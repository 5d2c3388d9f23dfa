"""Pipelines and their runs as Mermaid flowcharts, which GitHub, notebooks and many editors draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from agno_mongo.run.steps import StepOutput

_STYLES: Final = {
    "COMPLETED": "fill:#d9f2d9,stroke:#2e7d32",
    "ERROR": "fill:#f8d7da,stroke:#b71c1c",
    "CANCELLED": "fill:#eeeeee,stroke:#616161",
    "SKIPPED": "fill:#eeeeee,stroke:#9e9e9e,stroke-dasharray:4",
    "PAUSED": "fill:#fff3cd,stroke:#b8860b",
    "RUNNING": "fill:#d6e4f7,stroke:#1565c0",
}


def chart_of_pipeline(outline: Sequence[Mapping[str, Any]]) -> str:
    """A workflow's steps: ``outline`` has name, kind and parts of each."""
    chart = _Chart()
    chart.chain([_of_outline(step) for step in outline])
    return chart.text()


def chart_of_run(run: Any) -> str:
    """A run's steps, as far as they began, with status and seconds."""
    chart = _Chart()
    chart.chain([_of_output(output) for output in run.step_results])
    used = sorted({status for status in chart.statuses if status in _STYLES})
    return chart.text([f"    classDef {status} {_STYLES[status]}" for status in used])


def _of_outline(step: Mapping[str, Any]) -> dict[str, Any]:
    ways = [[_of_outline(part) for part in step.get(name) or ()] for name in ("steps", "else_steps")]
    if step["type"] in {"Parallel", "Router"}:
        ways = [[part] for part in ways[0]]
    return {
        "label": f"{step['name']}\n{step['type']}",
        "type": step["type"],
        "ways": [way for way in ways if way],
        "status": None,
    }


def _of_output(output: StepOutput) -> dict[str, Any]:
    kind = output.executor_type if output.executor_type and not output.steps else output.step_type
    took = "" if output.duration is None else f" {output.duration:.2f} s"
    tries = f", {output.tries} tries" if output.tries is not None and output.tries > 1 else ""
    label = f"{output.step_name}\n{kind}, {output.status or ''}{took}{tries}"
    inside = [_of_output(step) for step in output.steps or ()]
    ways = [[part] for part in inside] if output.step_type == "Parallel" else [inside]
    return {"label": label, "type": output.step_type, "ways": [way for way in ways if way], "status": output.status}


class _Chart:
    def __init__(self) -> None:
        self._lines: list[str] = ["flowchart TD"]
        self._number = 0
        self.statuses: list[str] = []

    def text(self, more: Iterable[str] = ()) -> str:
        return "\n".join((*self._lines, *more)) + "\n"

    def chain(self, steps: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
        """Draw steps in order, and say where one comes in and where one goes out."""
        first: list[str] = []
        last: list[str] = []
        for step in steps:
            entries, exits = self._step(step)
            self._lines += [f"    {one} --> {other}" for one in last for other in entries]
            first, last = first or entries, exits
        return first, last

    def _step(self, step: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        node = self._node(step)
        ends: list[str] = []
        for way in step["ways"]:
            entries, exits = self.chain(way)
            self._lines += [f"    {node} --> {entry}" for entry in entries]
            ends += exits
        if step["type"] == "Loop" and step["status"] is None:
            self._lines += [f"    {one} -.-> {node}" for one in ends]
        # A condition with one way may be passed by.
        passed_by = step["type"] == "Condition" and step["status"] is None and len(step["ways"]) == 1
        return [node], [*ends, node] if passed_by else ends or [node]

    def _node(self, step: Mapping[str, Any]) -> str:
        self._number += 1
        name, label = f"s{self._number}", _quoted(step["label"])
        opening, closing = _SHAPES.get(step["type"], ("[", "]"))
        status = step["status"] if step["status"] in _STYLES else None
        self._lines.append(f'    {name}{opening}"{label}"{closing}' + (f":::{status}" if status else ""))
        self.statuses += [status] if status else []
        return name


_SHAPES: Final = {"Condition": ("{", "}"), "Router": ("{{", "}}"), "Parallel": ("[/", "/]"), "Loop": ("([", "])")}


def _quoted(text: str) -> str:
    """Text that Mermaid shows as it is."""
    escaped = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "<br>")

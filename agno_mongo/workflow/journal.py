"""Which steps of a run have finished, and which ways were chosen: what whoever goes on with the run begins from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from agno_mongo.db import values
from agno_mongo.execution import Execution
from agno_mongo.run.steps import StepOutput

Path: TypeAlias = "tuple[int, ...]"
"""Where a step stands: its number among its neighbours, after the numbers of the steps around it. In a loop the iteration comes before it."""


class Journal:
    """The finished steps of a run, in the order in which they finished. They are stored as they come if the run keeps checkpoints, else when it
    pauses. A workflow that is a step of another writes into that one's.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._outputs: dict[Path, StepOutput] = {}
        self._chosen: dict[Path, dict[str, Any]] = {}
        self._new: list[tuple[Path, StepOutput | dict[str, Any] | None]] = []
        self._lock = asyncio.Lock()
        for entry in execution.past.steps:
            self._take_up(values.decode(entry))

    def _take_up(self, entry: Mapping[str, Any]) -> None:
        path = tuple(entry["path"])
        if "forgotten" in entry:
            self._drop(path)
        elif "output" in entry:
            self._outputs[path] = StepOutput.model_validate(entry["output"])
        else:
            self._chosen.setdefault(path, {}).update(entry["chosen"])

    def finished(self, path: Path) -> StepOutput | None:
        """What came of the step there, with all within it; None if it has not finished."""
        output = self._outputs.get(path)
        if output is None:
            return None
        within = sorted(other for other in self._outputs if len(other) > len(path) and other[: len(path)] == path)
        above = [
            other for other in within if not any(other[:depth] in self._outputs for depth in range(len(path) + 1, len(other)))
        ]
        steps = [step for other in above if (step := self.finished(other)) is not None]
        if output.executor_type == "workflow":
            output.find_within(steps)
        elif steps:
            output.steps = steps
        return output

    def chosen(self, path: Path, name: str) -> Any:
        """What was decided there: a way, an answer; None if nothing was."""
        return self._chosen.get(path, {}).get(name)

    def choose(self, path: Path, **chosen: Any) -> None:
        """Remember a decision. It is stored with the next step that finishes."""
        self._chosen.setdefault(path, {}).update(chosen)
        self._new.append((path, chosen))

    def forget(self, path: Path, *names: str) -> None:
        """What came of the step there and of those within it is not wanted: it runs again. What was decided there under ``names`` stays."""
        kept = {name: value for name, value in self._chosen.get(path, {}).items() if name in names}
        self._drop(path)
        self._new.append((path, None))
        if kept:
            self.choose(path, **kept)

    def _drop(self, path: Path) -> None:
        for known in (self._outputs, self._chosen):
            for other in [other for other in known if other[: len(path)] == path]:
                del known[other]

    def put(self, path: Path, output: StepOutput) -> None:
        """A finished step is not what it was. It is stored with the next step that finishes, or when the run pauses."""
        self._new = [(other, what) for other, what in self._new if what is not output]
        self._new.append((path, output))

    async def note(self, path: Path, output: StepOutput, *, at_once: bool) -> None:
        """A step has finished. One that has others within it need not be stored ``at_once``."""
        self._new.append((path, output))
        if not at_once or not self._execution.keeps_checkpoints:
            return
        async with self._lock:
            # Another branch may have stored it meanwhile.
            if self._new:
                await self.write()
                await self._execution.checkpoint()

    async def write(self) -> None:
        """Have all that is new stored with the run's entry, at the next checkpoint or when the run pauses."""
        new, self._new = self._new, []
        for path, what in new:
            entry: dict[str, Any] = {"path": list(path)}
            if what is None:
                entry["forgotten"] = True
            else:
                entry |= {"output": await self._stored(what)} if isinstance(what, StepOutput) else {"chosen": what}
            encoded, _ = values.encode_lenient(entry, path=f"step {'.'.join(map(str, path))}")
            self._execution.steps.append(encoded)

    async def _stored(self, output: StepOutput) -> dict[str, Any]:
        record = {name: value for name, value in output.to_dict().items() if name != "steps"}
        kept: dict[str, Any] = await self._execution.recording.kept(record)
        return kept

    @staticmethod
    def first_fault(before: Sequence[Any], now: Sequence[Any]) -> tuple[str, str] | None:
        """The first step that is not what it was: its name, and what is wrong."""
        for index in range(max(len(before), len(now))):
            was, is_now = (steps[index] if index < len(steps) else None for steps in (before, now))
            if was is None or is_now is None:
                there: Any = was or is_now
                return there["name"], "is not there any more, and was" if is_now is None else "was not there"
            if (was["name"], was["type"]) != (is_now["name"], is_now["type"]):
                return was["name"], f"is {is_now['type']} {is_now['name']!r} now, and was {was['type']}"
            for name in ("steps", "else_steps"):
                if fault := Journal.first_fault(was.get(name) or (), is_now.get(name) or ()):
                    return fault
        return None

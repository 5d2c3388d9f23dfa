"""Guardrails: checks of a run's input, as objects."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from agno_mongo.run.base import RunInput


class BaseGuardrail(ABC):
    """A check of a run's input, for ``pre_hooks``.

    ``check`` looks at ``run_input``, may change its ``input_content``, and raises InputCheckError to refuse it. ``async_check`` is what the
    runtime calls: as it stands it runs ``check`` in a thread, so that it may block.
    """

    @abstractmethod
    def check(self, run_input: RunInput) -> None:
        """Raise InputCheckError to refuse the input."""

    async def async_check(self, run_input: RunInput) -> None:
        """The same, without blocking the event loop."""
        await asyncio.to_thread(self.check, run_input)


__all__ = ["BaseGuardrail"]

"""What may stand among the steps of a pipeline, each made into a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agno_mongo.agent.actor import Actor
from agno_mongo.component.sessions import SessionAccessors
from agno_mongo.db.base import SessionType
from agno_mongo.errors import ConfigurationError
from agno_mongo.workflow.step import Step
from agno_mongo.workflow.walking import Node


def as_node(where: str, given: Any) -> Node:
    """A step as it is; an agent, a team, a workflow or a function as the step that it carries out. Raises ConfigurationError, which says ``where``."""
    if isinstance(given, Node):
        return given
    kind = getattr(type(given), "SESSION_TYPE", None)
    if kind is SessionType.WORKFLOW and isinstance(given, SessionAccessors):
        return Step(name=getattr(given, "name", None), workflow=given)
    if isinstance(given, Actor):
        return Step(name=given.name, agent=given) if kind is SessionType.AGENT else Step(name=given.name, team=given)
    if callable(given) and not isinstance(given, type):
        return Step(executor=given)
    raise ConfigurationError(
        f"{where} is no step: {type(given).__name__}: {given!r}; a step is a Step, an agent, a team, a function, a workflow"
    )


def as_nodes(owner: str, given: Any, *, part: str = "steps", may_be_empty: bool = False) -> list[Any]:
    """A list of steps, each made into one. Errors call it ``part`` of ``owner``."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise ConfigurationError(f"{part}= of {owner} takes a list of steps, not {type(given).__name__}: {given!r}")
    if not given and not may_be_empty:
        raise ConfigurationError(f"{owner} has no {part}")
    return [as_node(f"{part}[{index}] of {owner}", one) for index, one in enumerate(given)]


def called(kind: str, name: str | None) -> str:
    """What errors call a step of that kind."""
    return f"{kind} {name!r}" if name else f"a {kind} without a name"

"""What a call may set differently from its workflow."""

from __future__ import annotations

from typing import Any, TypedDict

from agno_mongo.agent.media_input import MediaOptions
from agno_mongo.terminal import PromptOptions


class ContinueOptions(TypedDict, total=False):
    """What a run that goes on may set differently from its workflow.

    ``session_id`` and ``user_id`` say whose conversation it is part of; ``session_state`` is laid over what is stored; ``dependencies`` are laid over the
    workflow's and handed to those who carry out steps.
    """

    session_id: str | None
    user_id: str | None
    session_state: dict[str, Any] | None
    metadata: dict[str, Any] | None
    dependencies: dict[str, Any] | None
    add_dependencies_to_context: bool | None
    add_session_state_to_context: bool | None


class RunOptions(ContinueOptions, MediaOptions, total=False):
    """What a single run may set differently, and what goes with its input: ``images``, ``audio``, ``videos``, ``files``, and ``additional_data``, a dict that
    each step is given. ``run_id`` is a new id of the caller's own.
    """

    run_id: str | None
    additional_data: dict[str, Any] | None


class ChatOptions(RunOptions, PromptOptions, total=False):
    """What ``cli_app`` takes. ``show_step_details``: with the beginning of what each step came to, ``show_time``: with its seconds; ``markdown``: answers are
    rendered. ``console``: a rich Console of one's own. ``stream`` is Agno's: the tree is live anyway.
    """

    show_step_details: bool
    show_time: bool
    markdown: bool
    console: Any
    stream: bool | None

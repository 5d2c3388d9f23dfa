"""Runs and chats on the terminal. What draws and what reads keys (rich, prompt_toolkit) is imported with the first call, in a thread."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agno_mongo import checks
from agno_mongo.terminal.look import Look, PromptOptions, ShowOptions, run_options, text_of_input

if TYPE_CHECKING:
    from agno_mongo.terminal.chat import Chat
    from agno_mongo.terminal.tree_chat import TreeChat

__all__ = ["PromptOptions", "ShowOptions", "chat_with", "load_chat", "load_tree", "print_response", "tree_chat_with"]

_CHAT = "agno_mongo.terminal.chat"
_SCREEN = "agno_mongo.terminal.screen"
_TREE = "agno_mongo.terminal.tree"
_TREE_CHAT = "agno_mongo.terminal.tree_chat"


async def print_response(component: Any, given: Any, options: Mapping[str, Any]) -> None:
    """Run the component on ``given`` and print it. ``options`` are the run's, ShowOptions, and ``show_message``."""
    question = text_of_input(given) if checks.flag("show_message", options.get("show_message", True)) else None
    look = Look.of(component, options, question=question)
    screen = await _imported(_SCREEN)
    start = partial(component.arun, given, **run_options(options))
    await screen.print_run(screen.events_of(start, look), look, options.get("console"))


async def load_tree() -> Any:
    """What shows a workflow's run, imported without holding up the event loop."""
    return await _imported(_TREE)


async def load_chat() -> None:
    """Import what :func:`chat_with` and :func:`tree_chat_with` need, without holding up the event loop."""
    await _imported(_TREE_CHAT)


def chat_with(component: Any, options: Mapping[str, Any]) -> Chat:
    """The chat with a component: see :class:`~agno_mongo.terminal.chat.Chat`. ``options`` are the run's, ShowOptions and PromptOptions."""
    look = Look.of(component, options, boxes=False)
    made: Chat = import_module(_CHAT).Chat(component, options, look)
    return made


def tree_chat_with(workflow: Any, options: Mapping[str, Any], show: Any, lines: Any = None) -> TreeChat:
    """The chat with a workflow: see :class:`~agno_mongo.terminal.tree_chat.TreeChat`. ``options`` are the run's and PromptOptions."""
    made: TreeChat = import_module(_TREE_CHAT).TreeChat(workflow, options, show, lines)
    return made


async def _imported(name: str) -> Any:
    # What they import takes 0.2 s, for which an event loop should not stand still.
    return sys.modules.get(name) or await asyncio.to_thread(import_module, name)

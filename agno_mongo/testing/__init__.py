"""Doubles for the test suites of those who build agents: a model that follows a script, a database in memory, pytest fixtures.

The fixtures are in :mod:`agno_mongo.testing.fixtures`; put ``pytest_plugins = ["agno_mongo.testing.fixtures"]`` into a
``conftest.py`` to use them.
"""

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.testing.scripted_model import ScriptedModel, ScriptError, ToolCall

__all__ = ["InMemoryDb", "ScriptError", "ScriptedModel", "ToolCall"]

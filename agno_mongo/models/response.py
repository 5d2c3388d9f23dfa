"""Agno's import path for the calls of tools. What a model yields is :class:`~agno_mongo.models.base.ModelDelta`."""

from agno_mongo.messages import ToolExecution, UserInputField

__all__ = ["ToolExecution", "UserInputField"]

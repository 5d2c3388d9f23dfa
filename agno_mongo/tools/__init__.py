"""Tools: Python functions that a model calls."""

from agno_mongo.tools.decorator import tool
from agno_mongo.tools.function import Function, FunctionCall
from agno_mongo.tools.result import ToolResult
from agno_mongo.tools.toolkit import Toolkit

__all__ = ["Function", "FunctionCall", "ToolResult", "Toolkit", "tool"]

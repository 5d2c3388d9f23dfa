"""Python functions as tools."""

from agno_mongo.tools.function import Function

__all__ = ["Function"]

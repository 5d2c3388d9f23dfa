"""Agno's import path for the base of guardrails."""

from agno_mongo.guardrails.patterns import BaseGuardrail

__all__ = ["BaseGuardrail"]

"""Agno's import path for the guardrail against injected instructions."""

from agno_mongo.guardrails.patterns import PromptInjectionGuardrail

__all__ = ["PromptInjectionGuardrail"]

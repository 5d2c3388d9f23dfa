"""Guardrails: checks of a run's input, as objects for ``pre_hooks``."""

from agno_mongo.guardrails.openai import OpenAIModerationGuardrail
from agno_mongo.guardrails.patterns import BaseGuardrail, PIIDetectionGuardrail, PromptInjectionGuardrail

__all__ = ["BaseGuardrail", "OpenAIModerationGuardrail", "PIIDetectionGuardrail", "PromptInjectionGuardrail"]

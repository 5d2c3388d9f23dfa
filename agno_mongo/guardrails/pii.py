"""Agno's import path for the guardrail that finds personal data."""

from agno_mongo.guardrails.patterns import PIIDetectionGuardrail

__all__ = ["PIIDetectionGuardrail"]

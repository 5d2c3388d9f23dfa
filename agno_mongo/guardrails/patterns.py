"""Guardrails: checks of a run's input, as objects for ``pre_hooks``.

Patterns find what looks like something. They miss what is written otherwise and meet what only looks like it: a first line, no proof.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from agno_mongo import checks
from agno_mongo.errors import CheckTrigger, ConfigurationError, InputCheckError
from agno_mongo.messages import Message
from agno_mongo.run.base import RunInput
from agno_mongo.threads import in_thread


class BaseGuardrail(ABC):
    """A check of a run's input, for ``pre_hooks``.

    ``check`` looks at ``run_input``, may change its ``input_content``, and raises InputCheckError to refuse it. ``async_check`` is what the
    runtime calls: as it stands it runs ``check`` in a thread, so that it may block.
    """

    @abstractmethod
    def check(self, run_input: RunInput) -> None:
        """Raise InputCheckError to refuse the input."""

    async def async_check(self, run_input: RunInput) -> None:
        """The same, without blocking the event loop."""
        await in_thread(lambda _: self.check(run_input))


class PIIDetectionGuardrail(BaseGuardrail):
    """Refuses inputs with personal data: US social security numbers, credit cards (by their check digit), e-mail addresses, telephone numbers.

    ``mask_pii`` puts asterisks in their place instead, in texts, messages, and data alike. ``custom_patterns`` are looked for too: a name for each, and a
    regular expression. The refusal's ``additional_data["detected_pii"]`` are the names of what was found.
    """

    def __init__(
        self,
        mask_pii: bool = False,
        enable_ssn_check: bool = True,
        enable_credit_card_check: bool = True,
        enable_email_check: bool = True,
        enable_phone_check: bool = True,
        custom_patterns: Mapping[str, str | re.Pattern[str]] | None = None,
    ) -> None:
        self.mask_pii = mask_pii
        enabled = (enable_ssn_check, enable_credit_card_check, enable_email_check, enable_phone_check)
        self.pii_patterns = {name: pattern for (name, pattern), wanted in zip(_PII.items(), enabled, strict=True) if wanted}
        self.pii_patterns |= {name: _compiled(name, pattern) for name, pattern in (custom_patterns or {}).items()}

    def check(self, run_input: RunInput) -> None:
        """Raise InputCheckError for personal data, or mask it."""
        detected: dict[str, None] = {}
        masked = _with_texts(run_input.input_content, lambda text: self._masked(text, detected))
        if detected and not self.mask_pii:
            raise InputCheckError(
                f"The input has personal data in it: {', '.join(detected)}.",
                check_trigger=CheckTrigger.PII_DETECTED,
                additional_data={"detected_pii": list(detected)},
            )
        if detected:
            run_input.input_content = masked

    def _masked(self, text: str, detected: dict[str, None]) -> str:
        for name, pattern in self.pii_patterns.items():

            def mask(found: re.Match[str], name: str = name) -> str:
                if name == _CARD and not _has_check_digit(found[0]):
                    return found[0]
                detected[name] = None
                return "*" * len(found[0])

            text = pattern.sub(mask, text)
        return text


class PromptInjectionGuardrail(BaseGuardrail):
    """Refuses inputs with a phrase by which people try to talk a model out of its instructions; ``injection_patterns`` are phrases of one's own.

    Upper and lower case, and the number of blanks, do not matter.
    """

    def __init__(self, injection_patterns: Sequence[str] | None = None) -> None:
        if isinstance(injection_patterns, str):
            raise ConfigurationError(f"injection_patterns= takes a list of phrases, not {checks.shown(injection_patterns)}")
        self.injection_patterns = list(_INJECTIONS if injection_patterns is None else injection_patterns)

    def check(self, run_input: RunInput) -> None:
        """Raise InputCheckError if one of the phrases is there."""
        said = _plain(run_input.input_content_string())
        if any(_plain(phrase) in said for phrase in self.injection_patterns):
            raise InputCheckError(
                "The input looks like an attempt to change the instructions.", check_trigger=CheckTrigger.PROMPT_INJECTION
            )


_CARD: Final = "Credit Card"
_PII: Final = {
    "SSN": re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    _CARD: re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])"),
    # Begun only where a word begins, or right behind another address: from every letter on it would take quadratic time.
    "Email": re.compile(r"(?:(?<![\w.%+-])[\w.%+-]+|(?<=[\w-])[.%+][\w.%+-]{0,63})@[\w-]+(?:\.[\w-]+)+"),
    "Phone": re.compile(
        r"(?<![\w-])(?:(?:\+?1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}|\+\d{1,3}(?:[ .-]?\d{2,4}){2,5})(?![\w-])"
    ),
}
_INJECTIONS: Final = (
    "ignore all previous instructions",
    "ignore the previous instructions",
    "ignore previous instructions",
    "ignore your instructions",
    "ignore the instructions above",
    "ignore everything above",
    "disregard all previous instructions",
    "disregard your instructions",
    "disregard the above",
    "forget your instructions",
    "forget all previous instructions",
    "forget everything above",
    "override your instructions",
    "your new instructions are",
    "you are no longer bound by",
    "without any restrictions",
    "enter developer mode",
    "enable developer mode",
    "reveal your system prompt",
    "print your system prompt",
    "repeat your system prompt",
    "show me your system prompt",
    "do anything now",
    "jailbreak",
)


def _compiled(name: str, pattern: Any) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern):
        return pattern
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ConfigurationError(f"custom_patterns[{name!r}] is no regular expression: {pattern!r} ({error})") from error


def _has_check_digit(number: str) -> bool:
    """Luhn's: every second digit from the right, doubled, its own digits added."""
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of ``value`` with every text in it changed: of messages what they say, of data the values."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Message):
        return value.model_copy(update={"content": _with_texts(value.content, change)})
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _with_texts(part, change) for name, part in value})
    if isinstance(value, dict):
        return {key: _with_texts(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_texts(part, change) for part in value]
    return value


__all__ = ["BaseGuardrail", "PIIDetectionGuardrail", "PromptInjectionGuardrail"]

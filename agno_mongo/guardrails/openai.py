"""OpenAI's moderation as a guardrail."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from agno_mongo.errors import CheckTrigger, InputCheckError, ModelError
from agno_mongo.guardrails.patterns import BaseGuardrail
from agno_mongo.media import Image
from agno_mongo.run.base import RunInput


class OpenAIModerationGuardrail(BaseGuardrail):
    """Refuses inputs, text and images, that OpenAI's moderation flags: one request for each run.

    ``raise_for_categories`` names the categories that count (``"violence"``, ``"self-harm/intent"``, …); by default all do. The key is ``api_key`` or the
    environment variable ``OPENAI_API_KEY``. The refusal's ``additional_data`` has ``categories`` and ``category_scores``. Where OpenAI cannot be asked a
    ModelError is raised: a check that does not work lets nothing pass.
    """

    def __init__(
        self,
        moderation_model: str = "omni-moderation-latest",
        raise_for_categories: Sequence[str] | None = None,
        api_key: str | None = None,
    ) -> None:
        self.moderation_model = moderation_model
        self.raise_for_categories = raise_for_categories
        self.api_key = api_key

    def check(self, run_input: RunInput) -> None:
        """Raise InputCheckError for what is flagged."""
        # The client takes longer to import than all the rest.
        openai = import_module("openai")
        try:
            with openai.OpenAI(api_key=self.api_key) as client:
                judged = client.moderations.create(model=self.moderation_model, input=_shown(run_input)).results[0]
        except openai.OpenAIError as error:
            status_code = getattr(error, "status_code", None)
            raise ModelError(f"{self.moderation_model}: {error}", model=self.moderation_model, status_code=status_code) from error
        categories = judged.categories.model_dump(by_alias=True)
        counted = categories if self.raise_for_categories is None else self.raise_for_categories
        if judged.flagged and any(categories.get(name) for name in counted):
            raise InputCheckError(
                "OpenAI's moderation has flagged the input.",
                check_trigger=CheckTrigger.INPUT_NOT_ALLOWED,
                additional_data={"categories": categories, "category_scores": judged.category_scores.model_dump(by_alias=True)},
            )


def _shown(run_input: RunInput) -> Any:
    text = run_input.input_content_string()
    images = [{"type": "image_url", "image_url": {"url": _address(image)}} for image in run_input.images or ()]
    return [*([{"type": "text", "text": text}] if text else ()), *images] if images else text


def _address(image: Image) -> str:
    if image.content is None and image.url is not None:
        return image.url
    return f"data:{image.mime_type or 'image/png'};base64,{b64encode(image.get_content_bytes() or b'').decode()}"


__all__ = ["OpenAIModerationGuardrail"]

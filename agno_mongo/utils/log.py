"""The package's logger, and Agno's functions for it. It is Python's own ``logging``: level and handlers are set there."""

from __future__ import annotations

import logging
from typing import Any, Final

logger: Final = logging.getLogger("agno_mongo")


def log_debug(message: Any, *arguments: Any, **options: Any) -> None:
    """Log at level DEBUG."""
    logger.debug(message, *arguments, stacklevel=2, **_known(options))


def log_info(message: Any, *arguments: Any, **options: Any) -> None:
    """Log at level INFO."""
    logger.info(message, *arguments, stacklevel=2, **_known(options))


def log_warning(message: Any, *arguments: Any, **options: Any) -> None:
    """Log at level WARNING."""
    logger.warning(message, *arguments, stacklevel=2, **_known(options))


def log_error(message: Any, *arguments: Any, **options: Any) -> None:
    """Log at level ERROR."""
    logger.error(message, *arguments, stacklevel=2, **_known(options))


def log_exception(message: Any, *arguments: Any, **options: Any) -> None:
    """Log at level ERROR, with the exception that is being handled."""
    logger.error(message, *arguments, stacklevel=2, **{"exc_info": True, **_known(options)})


def set_log_level_to_debug(*_: Any, **__: Any) -> None:
    """Let DEBUG through."""
    logger.setLevel(logging.DEBUG)


def set_log_level_to_info(*_: Any, **__: Any) -> None:
    """Let INFO through, and no DEBUG."""
    logger.setLevel(logging.INFO)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """What Python's loggers take: Agno's ask for a rule in the middle, and for a level of detail."""
    return {name: options[name] for name in ("exc_info", "extra", "stack_info") if name in options}


__all__ = [
    "log_debug",
    "log_error",
    "log_exception",
    "log_info",
    "log_warning",
    "logger",
    "set_log_level_to_debug",
    "set_log_level_to_info",
]

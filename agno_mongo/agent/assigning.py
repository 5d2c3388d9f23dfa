"""Settings that are assigned to an agent that is there already are checked like those of its constructor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from agno_mongo import checks, renamed

Check = Callable[[str, Any], Any]


def checks_of(component: type) -> Mapping[str, Check | None]:
    """How each setting of a class is checked: flags by their annotation, the others as its table says; None for no check."""
    return _checks_of(component)


@cache
def _checks_of(component: Any) -> Mapping[str, Check | None]:
    return {
        name: checks.flag if field.type == "bool" else component._checked.get(name)  # noqa: SLF001 - the class's own table
        for name, field in component.__dataclass_fields__.items()
        if field._field_type.name == "_FIELD"  # noqa: SLF001 - what dataclasses.fields goes by
    }


class Assignable:
    """Raises ConfigurationError for a setting that cannot be, when it is assigned; takes older names; warns of what is nearly a setting."""

    _checked: ClassVar[dict[str, Check]] = {}
    _is_made = False
    """True once the constructor has checked everything: from then on what is assigned is."""

    if not TYPE_CHECKING:  # For a type checker there are the settings and nothing else.

        def __setattr__(self, name: str, value: Any) -> None:
            if self._is_made and not name.startswith("_"):
                known = checks_of(type(self))
                if name not in known and not _is_declared(type(self), name) and name not in vars(self):
                    name = renamed.assigned(_named(type(self)), name, known)
                if check := known.get(name):
                    value = check(name, value)
            object.__setattr__(self, name, value)


@cache
def _is_declared(component: type, name: str) -> bool:
    """True for what a subclass has of its own: an attribute, a property, an annotation."""
    return any(name in vars(cls) or name in vars(cls).get("__annotations__", ()) for cls in component.__mro__)


def _named(component: type) -> str:
    """The class's name in the table of older names, by that of the class it is derived from."""
    return next((cls.__name__ for cls in component.__mro__ if cls.__name__ in renamed.OLDER), component.__name__)

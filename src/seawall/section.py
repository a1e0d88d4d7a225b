"""The base of every group of settings.

A section is frozen, refuses keys it does not know, and documents each field
with the string under it. Command-line flags, environment names and the
reference page are read from here, so nothing about a setting is written twice.
"""

import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """One table of ``[tool.seawall]``."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
    )


def _split(value: Any) -> Any:
    """Reads ``a, b`` or ``["a", "b"]``, as environment variables and flags spell lists."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, Iterable) else value
    text = value.strip()
    if text.startswith("["):
        try:
            return tuple(json.loads(text))
        except ValueError as error:
            raise ValueError(f"not a list: {error}") from error
    return tuple(part.strip() for part in text.split(",") if part.strip())


Strings = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A list of strings; text is split at commas, or read as JSON when it opens with a bracket."""

"""How values of settings are written for people, without their secrets."""

import json
import re
from typing import Any

from pydantic import SecretStr

_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)")
_PARAMETER = re.compile(r"(?<=[?&])((?:\w*(?:password|passwd|secret|token|key))=)[^&\s]+", re.I)
_SECRET = re.compile(r"(^|[._])(password|secret|token)$")
HIDDEN = "***"


def masked(key: str, value: Any) -> Any:
    """The value with passwords in URLs, and secrets as a whole, replaced by ``***``."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, str):
        if value and _SECRET.search(key):
            return HIDDEN
        return _PARAMETER.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}", value))
    if isinstance(value, tuple | list):
        return [masked(key, one) for one in value]
    if isinstance(value, dict):
        return {name: masked(name, one) for name, one in value.items()}
    return value


def shown(value: Any) -> str:
    """As it would stand in a TOML file; ``none`` for what TOML cannot say."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {shown(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value))}]"
    return json.dumps(value, ensure_ascii=False)

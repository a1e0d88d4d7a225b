"""Every error that Seawall raises on purpose.

SeawallError
├── SettingsError            a setting is unknown, malformed or dangerous
│   └── SettingsErrors       several at once
├── AppError                 the application cannot be found or imported
├── ServeError               the server cannot start
├── RenderError              a file cannot be rendered or written
├── ProbeError               the site cannot be asked at all
├── MissingDependency        an optional package is not installed
└── TaskError
    ├── UndurableTask        a task cannot be written to a store
    ├── UnknownTask          a stored task's function cannot be imported any more
    └── StoreError
        ├── StoreUnavailable the store cannot be opened or written just now
        └── StoreCorrupt     the file is not a Seawall store, or is damaged

The docstring of a class is its default message. ``hint`` says how to mend it.
"""

import inspect


class SeawallError(Exception):
    """Seawall could not go on."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or inspect.getdoc(type(self)) or "")
        self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Hinted(ValueError):
    """A refused value, raised inside a validator, that knows its own remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(SeawallError):
    """A setting cannot be used."""

    def __init__(
        self, message: str = "", *, key: str = "", source: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.source = source

    def __str__(self) -> str:
        where = f" [from {self.source}]" if self.source else ""
        what = f"{self.key}: {self.message}" if self.key else self.message
        return f"{what}{where}" + (f" ({self.hint})" if self.hint else "")


class SettingsErrors(SettingsError):
    """Several settings cannot be used."""

    def __init__(self, errors: tuple[SettingsError, ...]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class AppError(SeawallError):
    """The application cannot be imported."""


class ServeError(SeawallError):
    """The server cannot start."""


class RenderError(SeawallError):
    """The file cannot be rendered."""


class ProbeError(SeawallError):
    """The site does not answer."""


class MissingDependency(SeawallError):
    """An optional package is not installed."""


class TaskError(SeawallError):
    """A task cannot be handled."""


class UndurableTask(TaskError):
    """The task cannot be written to the store."""


class UnknownTask(TaskError):
    """The task's function cannot be imported."""


class StoreError(TaskError):
    """The task store cannot be used."""


class StoreUnavailable(StoreError):
    """The task store cannot be reached."""


class StoreCorrupt(StoreError):
    """The task store is damaged, or is not a Seawall store."""

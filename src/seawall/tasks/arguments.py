"""A function call to text and back: ``module:qualname``, and JSON by parameter name.

What is written must come back as an equal value of the same type, and this is checked
each time, before anything is written; otherwise :class:`UndurableTask` says why. Nothing
is pickled: stored text can name a function and hold data, no more.

Values are read and written by the function's own annotations, through pydantic. A
parameter without one takes what JSON holds exactly: ``None``, booleans, numbers, strings,
and lists and string-keyed dicts of them.
"""

import dataclasses
import functools
import importlib
import inspect
import sys
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import Parameter, Signature
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic_core import PydanticSerializationError, ValidationError
from typing_extensions import TypedDict

from seawall.errors import UndurableTask, UnknownTask
from seawall.tasks.job import Call

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
"""Bytes need not be text, and infinity is a number."""

_typed_dict: Any = TypedDict
"""Made at run time, which type checkers do not foresee."""

_ANNOTATE = "annotate the parameter with its type, or pass plain JSON values such as an id"


class Codec:
    """How calls of one function are written and read. Made once a function."""

    def __init__(
        self, name: str, signature: Signature, adapter: TypeAdapter[tuple[dict[str, Any]]]
    ) -> None:
        self.name = name
        self._signature = signature
        self._write = adapter.serializer.to_json
        self._read = adapter.validator.validate_json
        parameters = signature.parameters.values()
        # Functions without varieties, called by position, need no binding.
        simple = all(p.kind is Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
        self._names = tuple(signature.parameters) if simple else ()
        self._required = sum(p.default is Parameter.empty for p in parameters)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Raises :class:`UndurableTask` unless the arguments survive the round trip."""
        if not kwargs and self._required <= len(args) <= len(self._names):
            values = dict(zip(self._names, args))  # noqa: B905 - defaults may be left out
        else:
            values = self._bind(args, kwargs)
        if _holds_iterator(values.values()):
            raise self._consumed(values)
        try:
            # A tuple around it, because pydantic takes the settings for writing from the
            # outermost type only, and a TypedDict cannot carry them.
            text = self._write((values,), warnings=False)
            if _same(values, self._read(text)[0]):
                return Call(self.name, text[1:-1].decode())
        except (PydanticSerializationError, ValidationError, TypeError, ValueError):
            pass
        raise self._refusal(values)

    def decode(self, arguments: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Raises pydantic's ``ValidationError`` if the function takes other arguments now."""
        (values,) = self._read(f"[{arguments}]")
        bound = inspect.BoundArguments(self._signature, values)
        return bound.args, bound.kwargs

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UndurableTask(
                f"task {self.name} cannot take these arguments: {error}",
                hint="pass what the function's signature asks for",
            ) from error

    def _consumed(self, values: Mapping[str, Any]) -> UndurableTask:
        name = next(name for name, value in values.items() if _holds_iterator((value,)))
        return UndurableTask(
            f"task {self.name} is not durable: argument {name!r} ({_type(values[name])}) "
            "is or holds an iterator, which can be read only once",
            hint="pass a list of its items",
        )

    def _refusal(self, values: Mapping[str, Any]) -> UndurableTask:
        """Finds the argument at fault. Names types only: a value may be a secret."""
        for name, value in values.items():
            try:
                text = self._write(({name: value},), warnings=False)
                read = self._read(text)[0][name]
            except (PydanticSerializationError, ValidationError, TypeError, ValueError):
                reason = "cannot be written as JSON and read back"
            else:
                if _same(value, read):
                    continue
                reason = (
                    f"would come back as {_type(read)}"
                    if type(read) is not type(value)
                    else "would not come back equal"
                )
            return UndurableTask(
                f"task {self.name} is not durable: argument {name!r} ({_type(value)}) {reason}",
                hint=_ANNOTATE,
            )
        return UndurableTask(f"task {self.name} is not durable", hint=_ANNOTATE)


def encode(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Call:
    """The call as text.

    Raises :class:`UndurableTask`, with the reason and what would help, if the function
    cannot be found again by name or an argument would not come back as it is.
    """
    while isinstance(function, functools.partial):
        args = (*function.args, *args)
        kwargs = {**function.keywords, **(kwargs or {})}
        function = function.func
    try:
        codec = _codec(function)
    except TypeError as error:  # not hashable, so certainly not a function
        raise UndurableTask(f"task {function!r} is not durable: {error}", hint=_NAMED) from error
    return codec.encode(args, kwargs or {})


def decode(call: Call) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The function, its positional and its keyword arguments.

    Raises :class:`UnknownTask` if there is no such function any more, and pydantic's
    ``ValidationError`` if it takes other arguments now.
    """
    function = resolve(call.function)
    args, kwargs = _codec(function).decode(call.arguments)
    return function, args, kwargs


def resolve(name: str) -> Callable[..., Any]:
    """The function called ``module:qualname``; raises :class:`UnknownTask`."""
    module, _, qualname = name.partition(":")
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownTask(
            f"task {name} cannot be imported: {error}",
            hint="bring the function back under its old name until its tasks are done",
        ) from error
    if not callable(found):
        raise UnknownTask(f"task {name} is not a function")
    return typing.cast(Callable[..., Any], found)


_NAMED = "define it with `def` at the top level of a module and pass it by name"


# Bounded, and keyed by the function: one that a program makes anew each time it is used
# must not pile up here.
@functools.lru_cache(maxsize=1024)
def _codec(function: Callable[..., Any]) -> Codec:
    name = name_of(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise UndurableTask(
            f"task {name} is not durable: it has no signature", hint="wrap it in a `def`"
        ) from error
    parameters = signature.parameters.values()
    hints = _hints(function)
    fields = {p.name: _field(p, hints.get(p.name, p.annotation)) for p in parameters}
    arguments: Any = _typed_dict("arguments", fields, total=False)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid", **_CONFIG)
    listed: Any = tuple.__class_getitem__(arguments)
    return Codec(name, signature, TypeAdapter(listed, config=_CONFIG))


def name_of(function: Callable[..., Any]) -> str:
    """``module:qualname``, if that leads back to this very object."""
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if inspect.ismethod(function):
        raise _unnamed(function, "it is a method bound to an object")
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise _unnamed(function, f"it is {_type(function)} and has no name")
    if module == "__main__":
        raise _unnamed(
            function,
            "it is defined in the script that was run, which no other process can import",
            hint="serve the app as a module: uvicorn main:app",
        )
    if "<lambda>" in qualname:
        raise _unnamed(function, "it is a lambda")
    if "<locals>" in qualname:
        raise _unnamed(function, "it is defined inside another function")
    name = f"{module}:{qualname}"
    try:
        found = resolve(name)
    except UnknownTask as error:
        raise _unnamed(
            function, f"nothing of that name can be imported ({error.message})"
        ) from error
    if found is not function:
        raise _unnamed(
            function,
            "its name leads to something else",
            hint="a decorator may have replaced it: pass the decorated name, and give the "
            "decorator functools.wraps",
        )
    return name


def _unnamed(function: Callable[..., Any], reason: str, hint: str = _NAMED) -> UndurableTask:
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None) or _type(function)
    return UndurableTask(f"task {module}:{name} is not durable: {reason}", hint=hint)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function.__init__ if inspect.isclass(function) else function
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:
        # An annotation that exists for type checkers only. Without one the parameter
        # takes exact JSON, so nothing can be altered.
        return {}


def _field(parameter: Parameter, annotation: Any) -> Any:
    if annotation is Parameter.empty or isinstance(annotation, str) or not _has_schema(annotation):
        annotation = Any
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return tuple[annotation, ...]
    if parameter.kind is Parameter.VAR_KEYWORD:
        return dict[str, annotation]
    return annotation


def _has_schema(annotation: Any) -> bool:
    try:
        TypeAdapter(annotation)
    except Exception:
        # A type that pydantic does not know (a database session, a request). The exact
        # JSON check will name the argument when one is passed.
        return False
    return True


_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


def _holds_iterator(values: Iterable[Any]) -> bool:
    """Whether writing these would use something up, so that it could not run here either.

    Looks into what pydantic looks into: containers, models and dataclasses.
    """
    waiting = [value for value in values if type(value) not in _PLAIN]
    seen: set[int] = set()  # a list may hold itself
    while waiting:
        value = waiting.pop()
        if isinstance(value, Iterator):
            return True
        if id(value) in seen:
            continue
        seen.add(id(value))
        inner: Iterable[Any] = ()
        if isinstance(value, dict):
            inner = value.values()
        elif isinstance(value, list | tuple | set | frozenset | deque):
            inner = value
        elif isinstance(value, BaseModel):
            inner = (*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values())
        elif dataclasses.is_dataclass(value):
            inner = (getattr(value, field.name, None) for field in dataclasses.fields(value))
        waiting += [item for item in inner if type(item) not in _PLAIN]
    return False


def _same(value: Any, read: Any) -> bool:
    """Equal and of one type, all the way down through built-in containers."""
    kind = type(value)
    if kind is not type(read):
        # An int is welcome where a float is declared, as for any type checker.
        return kind is int and type(read) is float and value == read
    if kind is dict:
        if len(value) != len(read):
            return False
        for key, item in value.items():
            if key not in read or not _same(item, read[key]):
                return False
        return True
    if kind is list or kind is tuple:
        return len(value) == len(read) and all(map(_same, value, read))
    return bool(value == read)


def _type(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )

"""Tasks that can be found by name, for the tests of tasks."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]


class Colour(StrEnum):
    RED = "red"


class Item(BaseModel):
    name: str
    price: Decimal
    tags: set[str] = set()


class Special(Item):
    note: str = ""


NIL = UUID(int=0)


class Session:
    """A type that pydantic knows nothing of."""


def plain(a, b=None, *args, **kwargs):  # type: ignore[no-untyped-def]
    pass


def rich(
    when: datetime = datetime.min,
    day: date = date.min,
    span: timedelta = timedelta(),
    amount: Decimal = Decimal(),
    key: UUID = NIL,
    path: Path = Path(),
    colour: Colour = Colour.RED,
    item: Item | None = None,
    blob: bytes = b"",
    ratio: float = 0.0,
    count: int = 0,
    pair: tuple[int, str] = (0, ""),
    names: set[str] = frozenset(),  # type: ignore[assignment]
    nested: dict[str, list[Item]] = {},  # noqa: B006
) -> None:
    pass


def text(value: str) -> None:
    pass


def many(values: Iterable[str]) -> None:
    seen.extend(values)


@dataclass
class Batch:
    items: Any


class Page(BaseModel):
    items: Any


def batch(value: Batch) -> None:
    pass


def page(value: Page) -> None:
    pass


def secret(value: SecretStr) -> None:
    pass


def session(name: str, db: Session | None = None) -> None:
    pass


def unresolvable(value: "Unknown") -> None:
    pass


def keywords(a: int, /, b: int, *rest: int, c: int, **more: int) -> None:
    pass


class Mailer:
    @staticmethod
    def send(to: str) -> None:
        pass

    @classmethod
    def make(cls, to: str) -> None:
        pass

    def bound(self, to: str) -> None:
        pass


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@wrapped
def decorated(value: int) -> None:
    pass


@wrapped
async def async_behind_a_plain_wrapper(value: int) -> None:
    await asyncio.sleep(0)
    note(value)


original = text


def text(value: str) -> None:  # type: ignore[no-redef]
    """Takes the name of the one above."""


# What follows runs in the tests of the worker, and writes down what it did.

seen: list[Any] = []
gate = threading.Event()
fails = 0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="blank")


def reset() -> None:
    global fails
    seen.clear()
    gate.clear()
    fails = 0


def note(value: Any) -> None:
    seen.append(value)


async def anote(value: Any) -> None:
    seen.append(value)


def context(value: str) -> None:
    seen.append(variable.get())
    variable.set(value)


async def acontext(value: str) -> None:
    seen.append(variable.get())
    variable.set(value)


def thread() -> None:
    seen.append(threading.current_thread().name)


async def loop() -> None:
    seen.append(id(asyncio.get_running_loop()))


def wait(value: Any) -> None:
    seen.append(f"begin {value}")
    gate.wait(60)
    seen.append(f"end {value}")


async def await_forever(value: Any) -> None:
    seen.append(f"begin {value}")
    try:
        await asyncio.sleep(3600)
    finally:
        seen.append(f"cut {value}")


async def block_the_loop(value: Any) -> None:
    seen.append(f"begin {value}")
    gate.wait(60)
    seen.append(f"end {value}")


def flaky(value: Any, times: int) -> None:
    global fails
    fails += 1
    if fails <= times:
        raise ValueError(f"failure {fails}")
    seen.append(value)


def broken(value: Any) -> None:
    seen.append(f"tried {value}")
    raise ValueError(f"bad \ud800 {value}")


def stops() -> None:
    raise StopIteration


def exits() -> None:
    raise SystemExit(3)


async def aexits() -> None:
    raise SystemExit(3)


def interrupts() -> None:
    raise KeyboardInterrupt


async def ainterrupts() -> None:
    raise KeyboardInterrupt


class Stop(BaseException):
    def __str__(self) -> str:
        raise ValueError("not even its message")


def raises_what_nobody_catches() -> None:
    raise Stop


async def araises_what_nobody_catches() -> None:
    raise Stop


async def cancels_itself() -> None:
    raise asyncio.CancelledError

import functools
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from seawall.errors import UndurableTask, UnknownTask
from seawall.tasks.arguments import decode, encode, resolve
from seawall.tasks.job import Call
from tests.tasks import functions as f

HERE = "tests.tasks.functions"


def round_trip(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    found, *arguments = decode(encode(function, args, kwargs))
    assert found is function
    return arguments[0], arguments[1]


def test_the_text_is_a_name_and_arguments_by_name() -> None:
    assert encode(f.session, ("a",)) == Call(f"{HERE}:session", '{"name":"a"}')


@pytest.mark.parametrize(
    "kwargs",
    [
        {"when": datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)},
        {"day": date(2024, 2, 29)},
        {"span": timedelta(days=-1, microseconds=7)},
        {"amount": Decimal("10.00")},
        {"key": UUID(int=7)},
        {"path": Path("/tmp/x")},
        {"colour": f.Colour.RED},
        {"item": f.Item(name="a", price=Decimal("0.10"), tags={"x", "y"})},
        {"blob": b"\x00\xff"},
        {"ratio": float("inf")},
        {"ratio": 0.1},
        {"count": 2**70},
        {"pair": (1, "a")},
        {"names": {"a", "b"}},
        {"nested": {"a": [f.Item(name="a", price=Decimal(1))]}},
    ],
    ids=lambda kwargs: next(iter(kwargs)),
)
def test_annotated_values_come_back_as_they_were(kwargs: dict[str, Any]) -> None:
    (name, value), *_ = kwargs.items()
    bound, keywords = round_trip(f.rich, **kwargs)
    read = keywords.get(name, bound[0] if bound else None)
    assert read == value
    assert type(read) is type(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_unannotated_values_come_back_exactly_or_are_refused(value: Any) -> None:
    try:
        call = encode(f.plain, (value,))
    except UndurableTask:
        # Allowed for what JSON has no word for, never for plain text and whole numbers.
        assert re.search(r"inf|\\u?d[89a-f]", ascii(value)), value
        return
    _, (read,), _ = decode(call)
    assert repr(read) == repr(value)


def test_an_int_is_welcome_where_a_float_is_declared() -> None:
    assert round_trip(f.rich, ratio=2)[1] == {"ratio": 2.0}


def test_every_kind_of_parameter_finds_its_place() -> None:
    assert round_trip(f.keywords, 1, 2, 3, 4, c=5, d=6) == ((1, 2, 3, 4), {"c": 5, "d": 6})
    assert round_trip(f.keywords, 1, b=2, c=5) == ((1, 2), {"c": 5})
    assert round_trip(f.plain, 1) == ((1,), {})
    assert round_trip(f.plain, 1, 2, 3, x=4) == ((1, 2, 3), {"x": 4})


def test_functions_found_by_name() -> None:
    assert round_trip(f.Mailer.send, "a") == (("a",), {})
    assert round_trip(f.decorated, 1) == ((1,), {})
    assert round_trip(print, "a") == (("a",), {})
    assert resolve("os.path:join") is __import__("os").path.join


def test_a_partial_is_its_function_with_more_arguments() -> None:
    call = encode(functools.partial(f.plain, 1, x=2), (3,), {"y": 4})
    assert decode(call) == (f.plain, (1, 3), {"x": 2, "y": 4})


def local() -> Callable[..., Any]:
    def inner() -> None:
        pass

    return inner


def in_main() -> None:
    pass


in_main.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: None, "it is a lambda"),
        (local(), "defined inside another function"),
        (f.Mailer().bound, "a method bound to an object"),
        (f.Mailer.make, "a method bound to an object"),
        (f.original, "its name leads to something else"),
        (in_main, "defined in the script that was run"),
        (threading.Event(), "has no name"),
        ({}, "unhashable"),
    ],
    ids=str,
)
def test_functions_that_no_name_leads_to(function: Any, reason: str) -> None:
    with pytest.raises(UndurableTask, match=reason) as refusal:
        encode(function)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (f.plain, ((1, 2),), r"'a' \(tuple\) would come back as list"),
        (f.plain, (1, [(2,)]), r"'b' \(list\) would not come back equal"),
        (f.plain, (datetime.now(),), r"'a' \(datetime.datetime\) would come back as str"),
        (f.plain, ({1: 2},), r"'a' \(dict\) would not come back equal"),
        (f.plain, (f.Colour.RED,), r"'a' \(.*Colour\) would come back as str"),
        (f.plain, (object(),), r"'a' \(object\) cannot be written"),
        (f.plain, (float("nan"),), r"'a' \(float\)"),
        (f.plain, ("\ud800",), r"'a' \(str\) cannot be written"),
        (f.text, (1,), r"'value' \(int\) cannot be written"),
        (f.text, (f.Colour.RED,), r"would come back as str"),
        (f.rich, (*[datetime.min] * 1, datetime.min), r"'day' \(datetime.datetime\)"),
        (f.secret, (SecretStr("hunter2"),), "would not come back equal"),
        (f.session, ("a", f.Session()), r"'db' \(.*Session\)"),
        (f.unresolvable, (object(),), r"'value' \(object\)"),
        (f.text, (), "cannot take these arguments: missing"),
        (f.text, ("a", "b"), "cannot take these arguments: too many"),
    ],
)
def test_values_that_would_be_altered(
    function: Callable[..., Any], args: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(UndurableTask, match=reason) as refusal:
        encode(function, args)
    assert refusal.value.hint
    assert "hunter2" not in str(refusal.value)


def test_a_subclass_is_not_cut_down_to_what_is_declared() -> None:
    with pytest.raises(UndurableTask, match="'item'"):
        encode(f.rich, (), {"item": f.Special(name="a", price=Decimal(1), note="lost?")})


def letters() -> Iterator[str]:
    yield from "abc"


@pytest.mark.parametrize(
    ("function", "wrap"),
    [
        (f.plain, lambda iterator: iterator),
        (f.plain, lambda iterator: [1, {"a": (iterator,)}]),
        (f.plain, lambda iterator: map(str, iterator)),
        (f.many, lambda iterator: iterator),
        (f.batch, f.Batch),
        (f.page, lambda iterator: f.Page(items=iterator)),
    ],
)
def test_an_iterator_is_refused_unread(
    function: Callable[..., Any], wrap: Callable[[Any], Any]
) -> None:
    """It runs in the process then, and must find everything still there."""
    iterator = letters()
    with pytest.raises(UndurableTask, match="read only once") as refusal:
        encode(function, (wrap(iterator),))
    assert "pass a list" in refusal.value.hint
    assert list(iterator) == ["a", "b", "c"]


def test_a_list_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UndurableTask, match="'a'"):
        encode(f.plain, (loop,))


def test_true_is_not_one() -> None:
    with pytest.raises(UndurableTask, match="would come back as int"):
        encode(f.rich, (), {"count": True})


def test_an_unresolvable_annotation_takes_plain_json() -> None:
    assert round_trip(f.unresolvable, {"a": [1]}) == (({"a": [1]},), {})


def test_a_parameter_of_unknown_type_may_be_left_out() -> None:
    assert round_trip(f.session, "a") == (("a",), {})


@pytest.mark.parametrize("name", ["nosuchmodule:f", f"{HERE}:nosuch", f"{HERE}:seen", "", ":"])
def test_stored_names_that_lead_nowhere(name: str) -> None:
    with pytest.raises(UnknownTask):
        decode(Call(name, "{}"))


def test_stored_arguments_that_no_longer_fit() -> None:
    with pytest.raises(ValidationError):
        decode(Call(f"{HERE}:text", '{"gone":1}'))


def test_an_argument_added_since_takes_its_default() -> None:
    assert decode(Call(f"{HERE}:session", '{"name":"a"}'))[1:] == (("a",), {})

"""Sorts what the policies compiled to into the stages of a request."""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from seawall.policies.exchange import Answer, Exchange, Refusal, text
from seawall.policies.policy import Act, Finish, Hook, Refuse, ResponseHook


class Outside(NamedTuple):
    """The hooks of the policies outside one, innermost first: what its answer passes."""

    response: tuple[ResponseHook, ...]
    finish: tuple[Finish, ...]


Hooked = tuple[Hook, Outside]
"""A hook, and what stands outside it."""


class Plan:
    """The stages: ``before``, the ``settled`` policies, ``after``; and for the response all
    its hooks, or the ``lively`` ones alone when the settled have been looked up.

    Settled are the policies that stand together, in the order of requests, and depend on
    the remembered facts alone (:attr:`Act.settled`).
    """

    def __init__(self, acts: Sequence[Act]) -> None:
        outside = [(act, outside_of(acts[:index])) for index, act in enumerate(acts)]
        asked = [(act, outer) for act, outer in outside if act.http or act.settled]
        before = list(takewhile(lambda pair: not pair[0].settled, asked))
        settled = list(takewhile(lambda pair: pair[0].settled, asked[len(before) :]))
        after = asked[len(before) + len(settled) :]
        self.before = hooked(before)
        self.after = hooked(after)
        self.settled: list[tuple[Act, Outside]] = settled
        self.websocket: tuple[Hooked, ...] = tuple(
            (act.websocket, outer) for act, outer in outside if act.websocket
        )
        self.response, self.finish = outside_of(acts)
        self.refuse: Refuse = next((act.refuse for act in acts if act.refuse), plain)
        self.failed = next((act.failed for act in acts if act.failed), None)
        remembered = [act for act, _ in settled]
        self.owned = frozenset[bytes]().union(*(act.owns for act in acts))
        """The header names of which the app may send none, or every hook must see them."""
        self.lively = responses([act for act in acts if act not in remembered])


def plain(_: Exchange, refusal: Refusal) -> Answer:
    """How refusals look when the problems policy is off."""
    return text(refusal)


def hooked(pairs: Sequence[tuple[Act, Outside]]) -> tuple[Hooked, ...]:
    """The request hooks of acts that have one."""
    return tuple((act.http, outer) for act, outer in pairs if act.http)


def outside_of(acts: Sequence[Act]) -> Outside:
    """What an answer passes that came from inside all of these acts."""
    return Outside(responses(acts), tuple(act.finish for act in reversed(acts) if act.finish))


def responses(acts: Sequence[Act]) -> tuple[ResponseHook, ...]:
    """The response hooks, innermost first."""
    return tuple(act.response for act in reversed(acts) if act.response)

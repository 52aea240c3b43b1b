from __future__ import annotations

from sidecar.exchange.chain import FilterChain
from sidecar.exchange.filter import Phase
from tests.support.exchanges import EVERY_PHASE, ScriptedFactory


class Nowhere:
    def create(self, view):
        raise AssertionError("never asked")


def chain(*phases):
    return FilterChain([ScriptedFactory(str(index), {}, [], wanted) for index, wanted in enumerate(phases)], Nowhere())


def test_the_request_goes_down_and_the_response_comes_up():
    found = chain(EVERY_PHASE, EVERY_PHASE, EVERY_PHASE)
    everybody = (0, 1, 2)
    assert found.request_heads == found.request_data == found.request_trailers == found.log == everybody
    assert found.response_heads == found.response_data == found.response_trailers == everybody


def test_only_those_who_want_a_phase_are_visited_at_their_place_in_travel_order():
    found = chain(
        frozenset({Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS}),
        frozenset({Phase.LOG}),
        frozenset({Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY}),
    )
    assert (found.request_heads, found.request_data, found.request_trailers) == ((0,), (2,), ())
    # The response meets filter 2 first: its place on that way is 0.
    assert (found.response_heads, found.response_data, found.response_trailers) == ((0, 2), (0,), ())
    assert found.log == (1,)


def test_an_empty_chain_visits_nobody():
    assert chain().request_heads == () and chain().log == ()

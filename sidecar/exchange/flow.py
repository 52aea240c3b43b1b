"""One direction of an exchange: events travel through the filters, and what a filter pauses is kept here.

Positions are places in travel order: the request meets filter 0 first, the response meets it last, so each
direction has its own list. Where nothing is paused an event costs one method call per filter that wants it.

A paused filter has a :class:`Hold` at its position:

* paused in its head phase, it *blocks*: everything behind the head waits undelivered, and reading from the
  sender stops at the codec's watermark because nothing of it is credited;
* paused in its head phase with delivery, or in its data phase, it *collects*: the bytes have been taken from
  the sender (and are credited), bounded by the filter's ``max_body`` and by the process-wide hold budget.

A filter never sees more than its ``max_body`` at once: a larger piece comes to it in several. So a body that is too
large to be held is too large however it was cut on its way here.

``content-length`` is put right here, too. When a filter of this direction may change the body, a head that
declares a length waits for the first body bytes: if those are all, the length is set from them, else the
length is dropped and the codec frames the message by itself. So a plugin never has to touch the length.
"""

# long-module: holds, pieces, trailers and the length belong to one walk, and each bends to the others

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn, Protocol

from sidecar.errors import ErrorKind, ProxyError, Source
from sidecar.exchange.filter import CONTINUE, DISCARD, PAUSE_ITERATION, PAUSE_WATERMARK, Direction, Filter
from sidecar.http.headers import HeaderMap

_HEAD: Final = ("on_request_headers", "on_response_headers")
_DATA: Final = ("on_request_data", "on_response_data")
_TRAILERS: Final = ("on_request_trailers", "on_response_trailers")


class HoldBudget:
    """Bytes that all paused filters of the process may keep together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class FlowOwner(Protocol):
    """Whose message travels."""

    def pass_on(self, direction: Direction, event: Any) -> None:
        """Take what came through all filters."""

    def make_data(self, direction: Direction, data: bytes, end_stream: bool) -> Any: ...

    def make_trailers(self, direction: Direction, headers: HeaderMap) -> Any: ...

    def on_overflow(self, error: ProxyError) -> None:
        """A hold is over its limit: end the exchange."""


class _Nobody:
    """The owner of a flow that is over."""

    def pass_on(self, direction: Direction, event: Any) -> NoReturn:
        raise LookupError("the exchange is over")

    def make_data(self, direction: Direction, data: bytes, end_stream: bool) -> NoReturn:
        raise LookupError("the exchange is over")

    def make_trailers(self, direction: Direction, headers: HeaderMap) -> NoReturn:
        raise LookupError("the exchange is over")

    def on_overflow(self, error: ProxyError) -> NoReturn:
        raise LookupError("the exchange is over")


_NOBODY: Final = _Nobody()


class Hold:
    """What one filter keeps back."""

    __slots__ = ("blocks", "data", "end_stream", "has_data", "head", "newest_only", "trailers")

    def __init__(self) -> None:
        self.head: Any = None
        self.blocks = False
        self.data = b""
        self.has_data = False
        self.end_stream = False
        self.newest_only = False
        self.trailers: Any = None


class Flow:
    """The travel of one message; made anew for a local reply, which starts at the filter that made it.

    ``filters`` is in travel order; ``heads``, ``datas``, ``trailers`` are the positions that want the phase. ``owner``
    takes what came through.
    """

    __slots__ = (
        "budget",
        "created_trailers",
        "data_name",
        "datas",
        "direction",
        "filters",
        "guarded",
        "guards_length",
        "head_emitted",
        "head_name",
        "heads",
        "held_bytes",
        "holds",
        "owner",
        "passed",
        "queued",
        "reached",
        "start",
        "stopped",
        "trailer_positions",
        "trailers_name",
        "unwatched",
    )

    def __init__(
        self,
        direction: Direction,
        filters: Sequence[Filter],
        heads: tuple[int, ...],
        datas: tuple[int, ...],
        trailers: tuple[int, ...],
        guards_length: bool,
        owner: FlowOwner,
        budget: HoldBudget,
        start: int = 0,
    ) -> None:
        self.direction = direction
        self.filters = filters
        self.heads = heads
        self.datas = datas
        self.trailer_positions = trailers
        self.head_name = _HEAD[direction]
        self.data_name = _DATA[direction]
        self.trailers_name = _TRAILERS[direction]
        self.guards_length = guards_length
        self.guarded: Any = None
        self.owner: FlowOwner = owner
        self.budget = budget
        self.start = start
        self.stopped = False
        self.holds: dict[int, Hold] = {}
        self.held_bytes = 0
        self.queued = 0
        self.reached = -1
        """Position of the last filter whose head phase was called."""
        self.passed = -1
        """Position of the last filter the head has gone past."""
        self.head_emitted = False
        self.created_trailers: HeaderMap | None = None
        self.unwatched: set[int] = set()

    def head(self, event: Any, start: int | None = None) -> None:
        """Carry the head from position ``start`` on."""
        first = self.start if start is None else start
        filters = self.filters
        for position in self.heads:
            if position < first:
                continue
            self.reached = position
            status = getattr(filters[position], self.head_name)(event)
            if self.stopped:
                return
            if status != CONTINUE:
                hold = Hold()
                hold.head = event
                hold.blocks = status != PAUSE_ITERATION or position not in self.datas
                hold.end_stream = False
                self.holds[position] = hold
                return
            self.passed = position
        self.passed = len(filters)
        if self.guards_length and not event.end_stream and b"content-length" in event.headers:
            self.guarded = event
            return
        self.head_emitted = True
        self.owner.pass_on(self.direction, event)

    def data(self, event: Any, start: int | None = None) -> None:
        """Carry body bytes from position ``start`` on."""
        if self.holds or start is not None or self.start or self.unwatched:
            self._data_slowly(event, self.start if start is None else start)
            return
        filters = self.filters
        for position in self.datas:
            owner = filters[position]
            if len(event.data) > owner.max_body:
                self._data_slowly(event, position)
                return
            status = getattr(owner, self.data_name)(event)
            if self.stopped:
                return
            if status != CONTINUE:
                self._collect(position, Hold(), event, status)
                return
            if self.created_trailers is not None:
                self._end_with_trailers(event, position)
                return
        self._emit_data(event)

    def trailers(self, event: Any, start: int | None = None) -> None:
        """Carry the trailer section from position ``start`` on; it ends the message."""
        first = self.start if start is None else start
        for position in range(first, len(self.filters)):
            hold = self.holds.get(position)
            if hold is not None and hold.blocks:
                hold.trailers = event
                return
            if position in self.trailer_positions:
                status = getattr(self.filters[position], self.trailers_name)(event)
                if self.stopped:
                    return
                if status != CONTINUE:
                    if hold is None:
                        hold = self.holds[position] = Hold()
                    hold.trailers = event
                    return
            if hold is not None:
                self._release(position, hold)
                if self.stopped:
                    return
        self._emit_trailers(event)

    def resume(self, by: Filter) -> None:
        """Let what ``by`` holds flow on."""
        position = self._position(by)
        hold = self.holds.get(position)
        if hold is None or self.stopped:
            return
        if not hold.blocks:
            trailers = hold.trailers
            hold.trailers = None
            self._release(position, hold)
            if trailers is not None and not self.stopped:
                self.trailers(trailers, position + 1)
            return
        del self.holds[position]
        self.queued -= len(hold.data)
        self.passed = position
        self.head(hold.head, position + 1)
        # What waited behind the head has not been seen by the filter that paused it: it comes first there.
        if hold.has_data and not self.stopped:
            self.data(self.owner.make_data(self.direction, hold.data, hold.end_stream), position)
        if hold.trailers is not None and not self.stopped:
            self.trailers(hold.trailers, position)

    def held(self, by: Filter) -> Hold | None:
        """The hold of ``by`` when it keeps body bytes it has already seen."""
        hold = self.holds.get(self._position(by))
        return hold if hold is not None and hold.has_data and not hold.blocks else None

    def replace_held(self, hold: Hold, data: bytes) -> None:
        self._account(len(data) - len(hold.data))
        hold.data = data

    def stop(self) -> None:
        """Deliver nothing more and forget what is held."""
        self.stopped = True
        self.holds.clear()
        self.queued = 0
        self._account(-self.held_bytes)

    def release(self) -> None:
        """The exchange is over: point at nothing of it any more, so that nobody has to look for circles."""
        self.filters = ()
        self.owner = _NOBODY
        self.guarded = None

    def is_head_behind(self, by: Filter) -> bool:
        """True while the head has not gone past ``by``."""
        position = self._position(by)
        hold = self.holds.get(position)
        return not self.stopped and (self.passed < position or (hold is not None and hold.head is not None))

    def _position(self, by: Filter) -> int:
        for position, present in enumerate(self.filters):
            if present is by:
                return position
        raise LookupError("a filter of another exchange")

    def _data_slowly(self, event: Any, start: int) -> None:
        for position in range(start, len(self.filters)):
            hold = self.holds.get(position)
            if hold is not None and hold.blocks:
                hold.data += event.data
                hold.has_data = True
                hold.end_stream = event.end_stream
                self.queued += len(event.data)
                return
            if position not in self.datas or position in self.unwatched:
                continue
            owner = self.filters[position]
            kept = len(hold.data) if hold is not None else 0
            if 0 < owner.max_body < kept + len(event.data):
                if hold is not None and kept:
                    hold.data += event.data
                    hold.end_stream = event.end_stream
                    self._account(len(event.data))
                    self._overflow(position, hold)
                else:
                    self._data_in_pieces(event, position, owner.max_body)
                return
            if hold is not None and not hold.newest_only:
                event.data = hold.data + event.data
            status = getattr(owner, self.data_name)(event)
            if self.stopped:
                return
            if status != CONTINUE:
                self._collect(position, hold if hold is not None else Hold(), event, status)
                return
            if hold is not None:
                if hold.newest_only:
                    event.data = hold.data + event.data
                hold.has_data = False
                self._release(position, hold)
                if self.stopped:
                    return
            if self.created_trailers is not None:
                self._end_with_trailers(event, position)
                return
        self._emit_data(event)

    def _data_in_pieces(self, event: Any, position: int, size: int) -> None:
        data = event.data
        last = (len(data) - 1) // size * size
        for at in range(0, len(data), size):
            is_last = event.end_stream and at == last
            self._data_slowly(self.owner.make_data(self.direction, data[at : at + size], is_last), position)
            if self.stopped:
                return

    def _collect(self, position: int, hold: Hold, event: Any, status: int) -> None:
        """Keep ``event`` for the filter at ``position``, within its limit."""
        before = len(hold.data)
        # What the filter was shown is everything that is kept, or only the newest bytes behind what is kept.
        earlier = hold.data if hold.newest_only else b""
        if status == DISCARD:
            hold.data = earlier
        else:
            hold.data = earlier + event.data
            hold.newest_only = status == PAUSE_WATERMARK
        hold.has_data = True
        hold.end_stream = event.end_stream
        self.holds[position] = hold
        self._account(len(hold.data) - before)
        if len(hold.data) > self.filters[position].max_body:
            self._overflow(position, hold)
        elif self.budget.used > self.budget.limit:
            self.owner.on_overflow(ProxyError(ErrorKind.OVERLOADED, "held bodies", limit="hold_budget"))

    def _overflow(self, position: int, hold: Hold) -> None:
        """More than the filter may hold: the end of the exchange, or from here on past the filter."""
        if not self.filters[position].overflow_streams:
            self.owner.on_overflow(self._too_large())
            return
        self.unwatched.add(position)
        self._release(position, hold)

    def _too_large(self) -> ProxyError:
        if self.direction is Direction.REQUEST:
            side, status, who = Source.DOWNSTREAM, None, "request"
        else:
            side, status, who = Source.UPSTREAM, 502, "response"
        return ProxyError(
            ErrorKind.BODY_TOO_LARGE, f"{who} held by a plugin", source=side, status=status, limit="max_body"
        )

    def _release(self, position: int, hold: Hold) -> None:
        """Send what a collecting hold keeps to the filters behind ``position``."""
        del self.holds[position]
        self._account(-len(hold.data))
        if hold.head is not None:
            self.passed = position
            self.head(hold.head, position + 1)
        if not hold.has_data or self.stopped:
            return
        event = self.owner.make_data(self.direction, hold.data, hold.end_stream)
        if hold.end_stream and self.created_trailers is not None:
            # Made while the filter looked at the end of the body, which it then kept.
            self._end_with_trailers(event, position)
        else:
            self.data(event, position + 1)

    def _account(self, change: int) -> None:
        self.held_bytes += change
        self.budget.used += change

    def _end_with_trailers(self, event: Any, position: int) -> None:
        """A filter made trailers while the message ended: the data no longer end it."""
        headers = self.created_trailers
        self.created_trailers = None
        assert headers is not None
        if not headers.fields:
            self._data_slowly(event, position + 1)
            return
        event.end_stream = False
        self._data_slowly(event, position + 1)
        if not self.stopped:
            self.trailers(self.owner.make_trailers(self.direction, headers), position + 1)

    def _emit_data(self, event: Any) -> None:
        if self.guarded is not None:
            if not event.data and not event.end_stream:
                return
            head = self.guarded
            self.guarded = None
            if event.end_stream:
                head.headers.set(b"content-length", b"%d" % len(event.data))
            else:
                head.headers.remove(b"content-length")
            self.head_emitted = True
            self.owner.pass_on(self.direction, head)
            if self.stopped:
                return
        self.owner.pass_on(self.direction, event)

    def _emit_trailers(self, event: Any) -> None:
        if self.guarded is not None:
            head = self.guarded
            self.guarded = None
            head.headers.remove(b"content-length")
            self.head_emitted = True
            self.owner.pass_on(self.direction, head)
            if self.stopped:
                return
        self.owner.pass_on(self.direction, event)

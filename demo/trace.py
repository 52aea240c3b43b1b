"""Spans as they arrived, put together again as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


@dataclass
class Span:
    """One span of one service; times are Unix nanoseconds."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: nobody called."""
    start: int
    end: int
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def milliseconds(self) -> float:
        return (self.end - self.start) / 1e6


@dataclass
class Node:
    span: Span
    children: list[Node] = field(default_factory=list)

    def shape(self) -> tuple[Any, ...]:
        """(service, kind, name, children's shapes): what must be equal from run to run."""
        return (self.span.service, self.span.kind, self.span.name, tuple(child.shape() for child in self.children))


def spans_of(requests: Iterable[Any]) -> Iterator[Span]:
    """The spans of ExportTraceServiceRequests."""
    for request in requests:
        for resource in request.resource_spans:
            service = _plain(resource.resource.attributes).get("service.name", "?")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield Span(
                        service,
                        span.name,
                        KINDS.get(span.kind, "?"),
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        _plain(span.attributes),
                    )


def tree(spans: Iterable[Span]) -> list[Node]:
    """The roots, children in order of their start. A span whose parent is not among them is a root."""
    nodes = {span.span_id: Node(span) for span in sorted(spans, key=lambda span: span.start)}
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.span.parent_id)
        (roots if parent is None or parent is node else parent.children).append(node)
    return roots


def drawn(roots: Sequence[Node], indent: str = "") -> Iterator[tuple[str, Span]]:
    """Each span with the text that stands before it and its name, a line each."""
    for root in roots:
        yield f"{indent}{root.span.name}", root.span
        yield from _below(root, indent)


def _below(node: Node, indent: str) -> Iterator[tuple[str, Span]]:
    for child in node.children:
        is_last = child is node.children[-1]
        yield f"{indent}{'└─ ' if is_last else '├─ '}{child.span.name}", child.span
        yield from _below(child, indent + ("   " if is_last else "│  "))


def _plain(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}

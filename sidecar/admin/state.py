"""What the pages ask of the running proxy. The runtime implements it; nothing here knows the runtime."""

from __future__ import annotations

from typing import Protocol


class AdminState(Protocol):
    """Called on the admin server's threads, never on the event loop's: return copies, hand changes over safely.

    The pages' content is anything JSON can say (dicts, lists, text, numbers, structs). ``metrics``, ``reload`` and
    ``drain`` may take their time; ``ready``, ``live`` and ``started`` must answer at once.
    """

    def config(self) -> object:
        """The configuration in effect; secrets are masked by the page."""

    def routes(self) -> object: ...

    def upstreams(self) -> object: ...

    def plugins(self) -> object: ...

    def stats(self) -> object: ...

    def metrics(self) -> bytes:
        """The Prometheus page, all workers together."""

    def ready(self) -> bool:
        """True while traffic should be sent here; False from the first moment of a drain."""

    def live(self) -> bool:
        """False only when a restart is the cure."""

    def started(self) -> bool:
        """True once the listeners have been bound; never False again."""

    def reload(self) -> tuple[bool, str]:
        """Load the configuration anew: whether it was taken, and a line (or lines) for the user."""

    def drain(self) -> None:
        """Begin to drain; returns at once."""

"""One request with its responses: the reactor, its filters, and the ports it speaks through."""

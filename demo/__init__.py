"""The demo: a small shop on loopback, a sidecar beside each of its two services, what one purchase leaves behind."""

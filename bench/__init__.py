"""`make bench`: this sidecar beside Envoy, on one core, in alternating runs. See docs/performance.md."""

"""Bytes to stream events and back. The only place that knows HTTP versions."""

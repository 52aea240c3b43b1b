"""Where a request goes: pure decisions on a request head, compiled once per configuration generation."""

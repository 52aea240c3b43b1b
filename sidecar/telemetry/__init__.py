"""What happened, told outside: records, spans, metrics, access log."""

"""HTTP as every version means it (RFC 9110): headers, events, semantics, validation."""

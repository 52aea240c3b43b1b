"""Which endpoint, which connection, and whether once more: pure state and decisions, no sockets and no clock."""

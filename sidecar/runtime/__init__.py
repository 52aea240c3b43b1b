"""The roof: from a configuration to a running proxy, and through reload and drain to its end."""

"""The floor with the sockets: listeners, connections, the pool, timers. It knows no features."""

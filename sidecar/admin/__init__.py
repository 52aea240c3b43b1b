"""Pages about the running proxy: metrics, health, and a look inside; changes only by the Unix socket."""

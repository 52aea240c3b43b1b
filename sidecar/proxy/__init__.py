"""Where connections, codecs, exchanges and filters are introduced to each other."""

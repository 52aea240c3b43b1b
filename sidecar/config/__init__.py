"""Configuration: text in, one frozen model out, or every mistake at once."""

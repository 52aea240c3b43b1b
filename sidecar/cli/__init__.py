"""The command line: words in, an exit code out. 0 is fine, 1 the thing asked about is wrong, 2 the question is."""

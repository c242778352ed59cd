"""The command line: parse, call, show progress, write results."""

"""Labeler models, one a file: how labelers err, and what follows from it."""

"""Panels of labelers, and what is true of a whole population of examples."""

"""Labeler parameters from data."""

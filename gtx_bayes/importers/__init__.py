"""Exports of labeling tools and of panels of judges, as tables of answers: one tool a file."""

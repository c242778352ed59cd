"""A live project: a labeling tool asks what to label next, and when to stop."""

"""Which example gets the next label, and when to stop: spending a labeling budget."""

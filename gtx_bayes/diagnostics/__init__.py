"""Whether to believe a result: ArviZ trees, convergence checks, plots."""

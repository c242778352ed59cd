"""Studies, one per file: a config in, a result out."""

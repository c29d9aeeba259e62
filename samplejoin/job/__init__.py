"""The job file: model, loading, errors with line and hint, and its compilation to the spec of the core."""

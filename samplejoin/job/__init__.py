"""The job file: its model, loading, errors with line and hint, and compilation to the core's spec."""

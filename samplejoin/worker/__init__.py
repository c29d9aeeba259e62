"""The running worker: its Faust app, its join partitions, its web port, its metrics and warnings."""

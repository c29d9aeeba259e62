"""A running worker: its Faust app, its join partitions, its web port, and what it reports of itself."""

"""What changes a job between its runs: a reset, a move to other partitions; and looking at its cluster."""

"""What changes a job between its runs: starting anew, going on with other partitions, and looking at its cluster."""

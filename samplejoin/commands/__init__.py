"""The commands of `samplejoin`, one per file; `cli.py` puts them together."""

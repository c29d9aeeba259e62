"""The demo as a user runs it, and its examples."""

"""Decoders: record values (JSON, CSV, raw) to dicts."""

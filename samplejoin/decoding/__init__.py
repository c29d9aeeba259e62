"""Record values to dicts, and back for sample records and tests: JSON, CSV, raw."""

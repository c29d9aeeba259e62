"""The hot path of a record: decodes it, calls the user's function, computes the key and packs the row as a cell."""

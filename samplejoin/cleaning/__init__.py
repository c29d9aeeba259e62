"""The hot path of a record: decoded, cleaned by the user's function, keyed, packed as a cell."""

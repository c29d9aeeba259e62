"""Proofs of the core: an oracle, properties, laws, examples, and the model of the protocol."""

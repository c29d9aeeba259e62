"""Connects the core to Kafka: block codec, sending under the covering rule, group membership, commit and recovery."""

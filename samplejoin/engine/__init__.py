"""Between the core and Kafka: block codec, sending under the covering rule, group membership, commit and recovery."""

"""Measures the cost of a join: this project, its floor and its peers, side by side on one Kafka."""

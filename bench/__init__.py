"""What a join costs: this project, its floor and its peers, side by side on one Kafka."""

"""Tasks: what the loop drives. Networks, batches, losses and the figures watched on the way."""

"""What a run of each kind is made of: its settings, their ranges and defaults."""

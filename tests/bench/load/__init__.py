"""Load on a running service: how much it takes within an objective, beyond it, and for long."""

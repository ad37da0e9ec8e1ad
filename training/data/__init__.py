"""Training data: fetched, checked, decoded once and cached."""

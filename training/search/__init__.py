"""Hyperparameter search: a space of settings, a study in a database, and a report on it."""

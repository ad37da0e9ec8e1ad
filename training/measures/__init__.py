"""Figures of merit: pure functions of arrays and text, each with its source."""

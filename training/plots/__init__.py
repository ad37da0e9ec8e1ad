"""Plots: each function draws one PNG from arrays, in one look, without a display."""

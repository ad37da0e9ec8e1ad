"""Graphs with int8 weights and activations, made from float32 graphs that are proved already."""

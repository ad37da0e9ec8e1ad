"""The serving room: request -> decode -> queue -> batch -> onnxruntime -> encode."""

__version__ = "0.1.0"
"""Also where the package is not installed, as in the image."""

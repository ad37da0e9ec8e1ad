"""The serving room: request -> decode -> queue -> batch -> onnxruntime -> encode."""

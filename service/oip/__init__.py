"""The Open Inference Protocol, version 2, over HTTP and gRPC, as Triton's clients speak it.

Every request leads to the queue that the model's other routes use.
"""

"""What is told of single requests: their ids, a line in the log, spans of a trace.

Off by default, and then none of it runs: the ASGI application and the gRPC server are wrapped only
where a setting asks for it.
"""

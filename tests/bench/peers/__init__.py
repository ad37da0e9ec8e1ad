"""The bench of peers: the same work behind other servers, run by `make bench-peers`.

A peer's folder holds its pinned requirements and its server; each runs in an environment of its
own under `.bench/`.
"""

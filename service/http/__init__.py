"""HTTP: bodies in, errors out, probes, and the routes that do not belong to one kind."""

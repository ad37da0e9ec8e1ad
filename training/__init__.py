"""The training room: data -> fit -> evaluate -> export -> verify -> gate -> publish."""

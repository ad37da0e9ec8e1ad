"""The training room: data -> fit -> export -> verify -> evaluate -> gate -> publish."""

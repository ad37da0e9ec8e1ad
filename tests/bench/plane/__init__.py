"""The plane of accuracy against speed: published networks beside the shipped ones, `make plane`."""

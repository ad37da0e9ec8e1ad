"""Are new data, or what clients send, still like the data that a model was trained on?"""

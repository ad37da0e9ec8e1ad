"""Parts of an evaluation: each measures one thing of a served graph, draws it, and says what the
figures mean.
"""

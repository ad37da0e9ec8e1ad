"""Named configurations of each kind: every setting with its why."""

"""What the bench of peers keeps of an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.peers.report import last_line

TRACEBACK = """it ended with status 1: et)
  File "/somewhere/python3.11/managers.py", line 563, in start
    self._process.start()
AttributeError: no attribute 'x'

At:
  /tmp/folder/model.py(454): initialize
;"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TRACEBACK, "AttributeError: no attribute 'x'"),
        ("3 requests failed\n", "3 requests failed"),
        (f"cannot be built: {Path.cwd()}/.bench/x/bin/pip", "cannot be built: .bench/x/bin/pip"),
        ("", ""),
    ],
)
def test_one_line_without_this_machines_folders(error, line):
    assert last_line(error) == line
    assert last_line(line) == line

"""The README's commands work as they stand, in their order, on the shipped models."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.server import serving

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """Code blocks of the README's section on use."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Use it\n")[2]
    section = section.partition("\n## Settings\n")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_readme_is_answered(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    # What fails is an error, and nothing hangs.
    (tmp_path / ".curlrc").write_text("fail\nmax-time = 60\n")
    environment = {**os.environ, "HOME": str(tmp_path), "CURL_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(ROOT)
    commands = re.sub(r"\\\n\s*", "", "\n".join(blocks("sh"))).splitlines()
    commands = [
        command for command in commands if command.startswith(("curl", ".venv/bin/triptych"))
    ]
    assert len(commands) >= 16
    with serving(ROOT / "models", cores=os.sched_getaffinity(0)) as server:
        environment["TRIPTYCH_URL"] = f"http://127.0.0.1:{server.port}"
        for command in commands:
            line = re.sub(r"^\.venv/bin/triptych ", f"{sys.executable} -m triptych ", command)
            done = subprocess.run(
                ["bash", "-c", line.replace("localhost:3000", f"127.0.0.1:{server.port}")],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
            file = re.search(r"-o (\S+)", command)
            answer = (tmp_path / file[1]).read_bytes() if file else done.stdout
            assert answer, command
        programs = blocks("python")
        assert len(programs) == 5
        for program in programs:
            text = program.replace("localhost:3000", f"127.0.0.1:{server.port}")
            done = subprocess.run(
                [sys.executable, "-c", text],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, (program, done.stderr.decode()[-2000:])

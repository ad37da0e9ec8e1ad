"""The processor's description."""

from __future__ import annotations

from pathlib import Path

from training.processor import describe_processor

TWO_CORES = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC

processor\t: 1
cpu family\t: 27
model\t\t: 3
model name\t: another
"""


def test_family_and_model_tell_generations_of_one_name_apart(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(TWO_CORES)
    assert describe_processor(cpuinfo) == "AMD EPYC (family 26, model 2)"


def test_a_system_that_tells_the_name_alone(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some: core\nBogoMIPS\t: 50.00\n")
    assert describe_processor(cpuinfo) == "Some: core"


def test_a_system_that_tells_nothing_still_has_one(tmp_path: Path) -> None:
    assert describe_processor(tmp_path / "none")

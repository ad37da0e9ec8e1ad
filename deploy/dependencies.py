"""Print what serving needs, one requirement a line: the base dependencies of pyproject.toml."""

import tomllib
from pathlib import Path

PROJECT_FILE = Path("pyproject.toml")


def serving_dependencies(project_file: Path = PROJECT_FILE) -> list[str]:
    """Requirements of the distribution without any extra."""
    project = tomllib.loads(project_file.read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


if __name__ == "__main__":
    print(*serving_dependencies(), sep="\n")

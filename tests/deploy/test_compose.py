"""deploy/compose.yaml: hardened, on loopback only, and true to image and service."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.deploy.conftest import DEPLOY, ROOT, clean_environment, program

FILE = DEPLOY / "compose.yaml"
VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def expanded(text: str) -> str:
    """`text` with the default of each variable."""
    return VARIABLE.sub(r"\1", text)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(expanded(FILE.read_text()))["services"]
    return found


def test_compose_accepts_it() -> None:
    compose = program("docker-compose", "docker")
    command = [compose] if Path(compose).name == "docker-compose" else [compose, "compose"]
    if subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("docker has no compose plugin here")
    result = subprocess.run(
        [*command, "--file", FILE, "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["triptych", "prometheus", "grafana"])
def test_hardened(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_image_is_this_release(services: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert services["triptych"]["image"] == f"triptych:{version}"
    build = services["triptych"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_settings_are_known_to_the_service(services: dict[str, Any]) -> None:
    Settings.from_environment(services["triptych"]["environment"])


def test_mounted_folders_exist_and_named_volumes_are_declared(services: dict[str, Any]) -> None:
    declared = yaml.safe_load(FILE.read_text())["volumes"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_dir() if source.startswith(".") else source in declared


def test_grafana_finds_prometheus_and_its_dashboards(services: dict[str, Any]) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "triptych.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert any(f":{folder}:" in volume for volume in services["grafana"]["volumes"])
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/triptych.json"
    assert (DEPLOY / "grafana" / "dashboards" / "triptych.json").is_file()
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["triptych:3000"]}]

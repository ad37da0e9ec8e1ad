"""`triptych` against the real service: what it writes is what the service answers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.e2e.server import Server
from tests.pictures import picture
from triptych.cli import main

CapSys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_URL", server.url)


def lines(capsys: CapSys) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_image_on_stdin(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "triptych", "classify", "-", "--top-k", "2"],
        cwd=ROOT,
        env=os.environ | {"TRIPTYCH_URL": server.url},
        input=picture(1),
        capture_output=True,
        check=True,
        timeout=60,
    )
    (expected,) = server.post("/v1/classify?top_k=2", content=picture(1)).json()["predictions"]
    found = json.loads(done.stdout)
    assert found["file"] == "-"
    assert {name: found[name] for name in expected} == expected


def test_many_images_of_which_one_is_none(server: Server, tmp_path: Path, capsys: CapSys) -> None:
    for seed in range(20):  # the server takes 8 in a request
        (tmp_path / f"{seed:02}.png").write_bytes(picture(seed) if seed != 7 else b"no picture")
    assert main(["classify", str(tmp_path), "--top-k", "1"]) == 3
    captured = capsys.readouterr()
    assert captured.err.startswith(f"triptych: {tmp_path / '07.png'} is not an image")
    assert len(captured.err.splitlines()) == 1
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(str(row["file"])).stem for row in found] == [
        f"{seed:02}" for seed in range(20) if seed != 7
    ]
    alone = server.post("/v1/classify", content=picture(19)).json()["predictions"][0]
    assert found[-1]["score"] == alone["score"]


def test_a_heatmap_is_drawn_over_the_centre_of_its_image(tmp_path: Path, capsys: CapSys) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40), "blue").save(path)
    assert main(["classify", str(path), "--explain", "-o", str(tmp_path / "heat.png")]) == 0
    (found,) = lines(capsys)
    heatmap = np.array(found["heatmap"])
    with Image.open(tmp_path / "heat.png") as drawn:
        pixels = np.array(drawn)
    height, width, _ = pixels.shape
    assert height == width >= 256
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    scale = height / heatmap.shape[0]
    red = pixels[int((row + 0.5) * scale), int((column + 0.5) * scale)]
    assert red[0] > 0
    assert red[2] < 255
    assert pixels[..., 0].max() <= round(255 * 0.6) + 1
    assert main(["classify", str(path), str(path), "--explain", "-o", str(tmp_path / "many")]) == 0
    assert sorted(one.name for one in (tmp_path / "many").iterdir()) == [
        "0000-a.png", "0001-a.png",
    ]  # fmt: skip


def test_a_grid_and_single_pictures_are_the_servers_bytes(
    server: Server, tmp_path: Path, capsys: CapSys
) -> None:
    words = ["sample", "--class", "cat", "--class", "dog", "-n", "4", "--seed", "3"]
    asked = {"labels": ["cat", "dog"], "n": 4, "seed": 3}
    sheet = server.post("/v1/sample", json=asked).content
    grid = tmp_path / "grid.png"
    assert main([*words, "-o", str(grid)]) == 0
    (told,) = lines(capsys)
    assert (told["files"], told["seed"]) == ([str(grid)], 3)
    assert grid.read_bytes() == sheet
    assert main([*words, "-o", f"{tmp_path}/out/"]) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [one.name for one in files] == [
        "0000-cat.png", "0001-dog.png", "0002-cat.png", "0003-dog.png",
    ]  # fmt: skip
    pixels = np.array(Image.open(io.BytesIO(sheet)))
    drawn = np.array(Image.open(files[0]))
    assert any(
        (pixels[top : top + 32, left : left + 32] == drawn).all()
        for top in range(pixels.shape[0] - 31)
        for left in range(pixels.shape[1] - 31)
    ), "the first picture is not in the grid"


def test_a_grid_on_stdout(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "triptych", "sample", "-n", "2", "--seed", "1"],
        cwd=ROOT,
        env=os.environ | {"TRIPTYCH_URL": server.url},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == server.post("/v1/sample", json={"n": 2, "seed": 1}).content


def test_a_text(server: Server, capsys: CapSys) -> None:
    words = ["generate", "--prompt", "The ", "--max-tokens", "120", "--seed", "4"]
    plain = server.post(
        "/v1/completions", json={"prompt": "The ", "max_tokens": 120, "seed": 4}
    ).json()
    assert main(words) == 0
    assert capsys.readouterr().out == plain["choices"][0]["text"]
    assert main([*words, "--json"]) == 0
    (found,) = lines(capsys)
    assert found["choices"] == plain["choices"]
    assert main([*words, "--echo"]) == 0
    assert capsys.readouterr().out == "The " + plain["choices"][0]["text"]


def test_models_and_health(server: Server, capsys: CapSys) -> None:
    assert main(["models"]) == 0
    found = lines(capsys)
    assert [row["id"] for row in found] == ["cifar10", "cifar10-gan", "shakespeare"]
    assert main(["health"]) == 0
    (told,) = lines(capsys)
    assert told["serving"] == {row["id"]: row["version"] for row in found}


def test_tensors_from_files(server: Server, tmp_path: Path, capsys: CapSys) -> None:
    with Image.open(io.BytesIO(picture(2))) as image:
        np.save(tmp_path / "image.npy", np.array(image)[None])
    words = ["infer", "cifar10", f"image={tmp_path / 'image.npy'}"]
    assert main(words) == 0
    (found,) = lines(capsys)
    assert main([*words, "-o", str(tmp_path / "out.npz")]) == 0
    stored = np.load(tmp_path / "out.npz")
    assert isinstance(found["outputs"], dict)
    assert stored["probability"].tolist() == found["outputs"]["probability"]
    top = server.post("/v1/classify", content=picture(2)).json()["predictions"][0]
    assert int(stored["probability"].argmax()) == top["index"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["generate", "--prompt", "a", "--temperature", "3"], "temperature"),
        (["generate", "--prompt", "a", "--model", "nobody"], "nobody"),
        (["sample", "--class", "unicorn", "-o", "-"], "unicorn"),
        (["sample", "-n", "1000", "-o", "-"], "n is 1000"),
    ],
)
def test_a_refusal_names_its_field(words: list[str], named: str, capsys: CapSys) -> None:
    assert main(words) == 3
    found = capsys.readouterr()
    assert named in found.err
    assert len(found.err.splitlines()) == 1

"""What must not start says why in one line; what starts broken says so until it is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.store import Store
from tests.e2e.server import failed_start, serving
from tests.pictures import picture
from tests.service.variants import copy_store, current_folder, set_current


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"worker": 2}, "triptych: TRIPTYCH_WORKER is not a setting; did you mean"),
        ({"max_batch_rows": "many"}, "triptych: TRIPTYCH_MAX_BATCH_ROWS='many'"),
        ({"provider": "cuda"}, "triptych: TRIPTYCH_PROVIDER=cuda needs CUDAExecutionProvider"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_line(
    tiny_store: Path, tmp_path: Path, settings: dict[str, Any], line: str
) -> None:
    status, output = failed_start(tmp_path, store=tiny_store, **settings)
    assert status != 0
    assert "Traceback" not in output
    ours = [one for one in output.splitlines() if "triptych:" in one and "TRIPTYCH" in one]
    assert len(ours) == 1
    assert line in ours[0]


def test_a_broken_model_is_not_ready_until_it_is_mended(tiny_store: Path, tmp_path: Path) -> None:
    store = copy_store(tiny_store, tmp_path / "store")
    path = current_folder(store, "cifar10") / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with serving(Path(store.home.location), tmp_path / "home") as server:
        answer = server.wait_for("/readyz", 503)
        while "cifar10" not in answer.json()["problems"]:
            answer = server.wait_for("/readyz", 503)
        assert "not the file that was published" in answer.json()["problems"]["cifar10"]
        assert server.get("/livez").status_code == 200
        refused = server.post("/v1/classify", content=picture())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "not_ready"
        server.wait_for("/v1/models/shakespeare", 200)
        sound = current_folder(Store(tiny_store), "cifar10")
        path.write_bytes((sound / "model.onnx").read_bytes())
        set_current(store, "cifar10", store.current("cifar10") + "\n")
        for _ in range(10):  # both workers, most likely
            server.wait_for("/readyz", 200)
        assert server.post("/v1/classify", content=picture()).status_code == 200

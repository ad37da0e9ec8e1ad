"""A fit that learns from a published classifier's answers, besides the labels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from service.contract import GRAPH_FILE, decode_manifest
from tests.training.conformance import case
from training.classifier import Classifier
from training.cli import main
from training.config import config_sha256, override
from training.configs.cnn import CnnConfig
from training.errors import ConfigError
from training.kinds import kinds
from training.networks.airbench import Airbench
from training.pruning import Pruning
from training.publish import served_manifest, version_folder
from training.runs import Run
from training.tasks.classification import CnnTask, normalise, to_levels
from training.teacher import Teacher, check_teacher, distance

CNN = kinds()["cnn"]
MEAN, DEVIATION = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)


class Desk:
    """A store with a teacher in it, made by the command line."""

    def __init__(self, folder: Path, sources: dict[str, Path], cache_dir: Path) -> None:
        self.store, self.sources = folder / "models", sources
        self.runs = folder / "runs"
        self.cache = ["--cache-dir", str(cache_dir)]

    def __call__(self, step: str, kind: str, *words: str) -> int:
        places = ["--runs", str(self.runs), "--store", str(self.store), *self.cache]
        preset = ["--preset", "tiny", "--data", str(self.sources[kind])]
        return main([step, "--kind", kind, *preset, *words, *places])

    def lenient(self, kind: str) -> list[str]:
        floors = case(kind).FLOORS.items()
        return [word for name, value in floors for word in ("--floor", f"{name}={value}")]

    @property
    def teacher(self) -> Path:
        folder = version_folder(self.store, "cifar10")
        assert folder is not None
        return folder


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path], cache_dir: Path
) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("desk"), sources, cache_dir)
    assert desk("run", "cnn", "--model", "cifar10", *desk.lenient("cnn")) == 0
    return desk


def test_the_distance_is_that_of_softened_answers() -> None:
    torch.manual_seed(0)
    logits_BC, answer_BC = torch.randn(4, 5), torch.randn(4, 5).softmax(dim=1)
    student_BC = logits_BC.softmax(dim=1)
    expected_B = (answer_BC * (answer_BC / student_BC).log()).sum(dim=1)
    torch.testing.assert_close(distance(logits_BC, answer_BC), expected_B)
    none_B = distance(answer_BC.log(), answer_BC, 3.0)
    torch.testing.assert_close(none_B, torch.zeros(4), atol=1e-6, rtol=0)
    softened = ((answer_BC.log() / 2).softmax(1), (logits_BC / 2).softmax(1))
    twice_B = 4 * (softened[0] * (softened[0] / softened[1]).log()).sum(dim=1)
    torch.testing.assert_close(distance(logits_BC, answer_BC, 2.0), twice_B)
    sure = F.one_hot(torch.tensor([1, 0, 2, 4]), 5).float()  # a zero has no logarithm
    assert bool(distance(logits_BC, sure).isfinite().all())


def test_levels_are_the_images_that_were_normalised() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8))
    assert torch.equal(to_levels(normalise(images, MEAN, DEVIATION), MEAN, DEVIATION), images)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_teacher_answers_as_its_graph_does(desk: Desk, threads: int) -> None:
    torch.set_num_threads(threads)
    graph = desk.teacher / GRAPH_FILE
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = Teacher([graph]).answers(torch.from_numpy(images))
    np.testing.assert_array_equal(found.numpy(), Classifier(graph).probabilities(images))


def test_what_it_says_is_a_share_of_the_loss(
    desk: Desk, sources: dict[str, Path], cache_dir: Path
) -> None:
    data = CNN.load_data(str(sources["cnn"]), cache_dir)
    graph = desk.teacher / GRAPH_FILE

    def task_of(weight: float) -> CnnTask:
        settings = [f"distillation.weight={weight}", "distillation.temperature=2"]
        # Small images for the student, whole ones for its teacher.
        settings += ["augment.first_px=16", "label_smoothing=0", "augment.grown_by=1"]
        task = CNN.task(override(CNN.presets["tiny"], settings), data, torch.device("cpu"))
        assert isinstance(task, CnnTask)
        task.follow([graph])
        return task

    def loss(task: CnnTask) -> float:
        torch.manual_seed(0)
        batch = task.batch(0, 0)
        assert batch["shown"].dtype == torch.uint8 and batch["shown"].shape[1:] == (32, 32, 3)
        assert batch["image"].shape[2:] == (16, 16)
        return task.loss(batch)[0].item()

    labels, both, teacher = (loss(task_of(weight)) for weight in (0.0, 0.25, 1.0))
    assert both == pytest.approx(0.75 * labels + 0.25 * teacher, rel=1e-4)
    assert teacher != pytest.approx(labels, rel=1e-3)


def test_an_image_is_known_well_if_its_teacher_would_say_the_same(
    desk: Desk, sources: dict[str, Path], cache_dir: Path
) -> None:
    data = CNN.load_data(str(sources["cnn"]), cache_dir)
    settings = ["pruned=0.5", "distillation.weight=1", "augment.cutout_px=0"]
    task = CNN.task(override(CNN.presets["tiny"], settings), data, torch.device("cpu"))
    assert isinstance(task, CnnTask)
    task.follow([desk.teacher / GRAPH_FILE])
    batch = task.batch(0, 0)
    task.modules["network"].eval()
    task.loss(batch)
    answer_BC = Teacher([desk.teacher / GRAPH_FILE]).answers(batch["shown"])
    pruning = task.modules["pruning"]
    assert isinstance(pruning, Pruning)
    known_B = pruning.loss[batch["index"]]
    torch.testing.assert_close(
        known_B, distance(task.modules["network"](batch["image"]), answer_BC).detach()
    )


def test_a_student_is_published_with_its_teachers_name(desk: Desk) -> None:
    title = f"cifar10 {desk.teacher.name}"
    words = ["--model", "student", "--teacher", "cifar10", "--set", "distillation.weight=0.9"]
    assert desk("run", "cnn", *words, *desk.lenient("cnn")) == 0
    (folder,) = (desk.runs / "student").glob("*/run.json")
    run = Run.open(folder.parent)
    assert run.record.taught_by == title
    served = decode_manifest((desk.teacher / "manifest.json").read_bytes()).graph
    (graph,) = run.teachers
    assert graph.read_bytes() == (desk.teacher / served).read_bytes()
    manifest = served_manifest(desk.store, "student")
    assert manifest is not None and manifest.training.taught_by == title
    card = (desk.store / "student" / manifest.version / "card.md").read_text()
    assert f"| Taught by | {title} |" in card
    assert f"--teacher STORE/cifar10/{desk.teacher.name} " in card
    assert "--set distillation.weight=0.9" in card
    before = decode_manifest((desk.teacher / "manifest.json").read_bytes())
    assert manifest.served.metrics != before.served.metrics or (
        (run.candidate / GRAPH_FILE).read_bytes() != (desk.teacher / GRAPH_FILE).read_bytes()
    )


def test_several_teachers_say_the_mean_of_their_answers(desk: Desk) -> None:
    words = ["--model", "second", "--seed", "7"]
    assert desk("run", "cnn", *words, *desk.lenient("cnn")) == 0
    words = ["--model", "pupil", "--teacher", "cifar10", "--teacher", "second"]
    words += ["--set", "distillation.weight=0.5"]
    assert desk("run", "cnn", *words, *desk.lenient("cnn")) == 0
    (folder,) = (desk.runs / "pupil").glob("*/run.json")
    run = Run.open(folder.parent)
    images = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3), np.uint8)
    found = Teacher(run.teachers).answers(torch.from_numpy(images))
    taught = []
    for name in ("cifar10", "second"):
        manifest = served_manifest(desk.store, name)
        assert manifest is not None
        graph = desk.store / name / manifest.version / manifest.graph
        taught.append(Classifier(graph).probabilities(images))
    assert not np.array_equal(taught[0], taught[1])
    np.testing.assert_allclose(found.numpy(), (taught[0] + taught[1]) / 2, rtol=1e-6, atol=1e-7)
    pupil = served_manifest(desk.store, "pupil")
    assert pupil is not None
    card = (desk.store / "pupil" / pupil.version / "card.md").read_text()
    cifar10, second = [named.replace(" ", "/") for named in run.record.taught_by.split(", ")]
    assert f"--teacher STORE/{cifar10} --teacher STORE/{second} " in card
    assert run.record.taught_by.count(",") == 1 and run.record.taught_by in card


@pytest.mark.parametrize(
    ("kind", "words", "complaint"),
    [
        ("cnn", ["--teacher", "cifar10"], "distillation.weight above 0 go together"),
        ("cnn", ["--set", "distillation.weight=0.5"], "distillation.weight above 0 go together"),
        ("cnn", ["--teacher", "nobody"], "nobody is neither a published model nor a folder"),
        ("lstm", ["--teacher", "cifar10"], "a lstm learns from no teacher"),
        (
            "cnn",
            ["--teacher=cifar10", "--set=distillation.weight=0.5", "--set=privacy.epsilon=8"],
            "distillation.weight is 0.5; it must be 0 for a private fit",
        ),
        ("cnn", ["--set", "distillation.weight=1.5"], "distillation.weight is 1.5"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_the_fit_and_by_a_rehearsal(
    desk: Desk, kind: str, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for also in ([], ["--dry-run"]):
        assert desk("fit", kind, "--model", "refused", *words, *also) == 2
        assert complaint in capsys.readouterr().err
    assert not list((desk.runs / "refused").glob("*/run.json"))


def test_a_search_has_no_teacher(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "cnn", "--preset", "tiny", "--data", str(desk.sources["cnn"]), *desk.cache]
    assert main(["search", *words, "--set", "distillation.weight=0.5", "--trials", "1"]) == 2
    assert "go together" in capsys.readouterr().err


def test_a_teacher_of_other_classes_or_sizes_teaches_nothing(
    desk: Desk, sources: dict[str, Path], cache_dir: Path
) -> None:
    manifest = decode_manifest((desk.teacher / "manifest.json").read_bytes())
    data = CNN.load_data(str(sources["cnn"]), cache_dir)
    check_teacher(manifest, data)
    others = SimpleNamespace(classes=data.classes[::-1], train=data.train)
    with pytest.raises(ConfigError, match="cifar10 tells airplane"):
        check_teacher(manifest, others)  # type: ignore[arg-type]
    larger = SimpleNamespace(images=np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"in images of \(32, 32, 3\)"):
        check_teacher(manifest, SimpleNamespace(classes=data.classes, train=larger))  # type: ignore[arg-type]


def test_settings_of_a_teacher_that_is_not_heard_change_no_hash() -> None:
    plain = CnnConfig()
    assert config_sha256(override(plain, ["distillation.temperature=4"])) == config_sha256(plain)
    heard = override(plain, ["distillation.weight=0.5"])
    assert config_sha256(heard) != config_sha256(plain)


def test_three_convolutions_begin_as_what_comes_in_twice_over() -> None:
    """The shortcut and the convolutions, which pass through at first, add up."""
    torch.manual_seed(0)
    network = Airbench(3, (24,), convolutions=3).eval()
    x_BCHW = torch.rand(2, 24, 8, 8)
    found = network.trunk[1](x_BCHW)  # the norms' statistics are still those of 0 and 1
    torch.testing.assert_close(found, 2 * F.max_pool2d(x_BCHW, 2), rtol=1e-3, atol=1e-3)

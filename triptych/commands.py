"""What each command does: ask, and write what came. Returns its exit code."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from triptych.client import Client, InvalidInputError, Picture, Prediction
from triptych.client.progress import available
from triptych.files import ImageFile, UsageError, image_files, prompt_of
from triptych.heat import overlay

_NOT_READY, _SOME_REFUSED = 4, 3


def _client(arguments: argparse.Namespace) -> Client:
    return Client(
        arguments.url,
        api_key=arguments.api_key,
        timeout_s=arguments.timeout,
        max_retries=arguments.retries,
    )


def _plain(arguments: argparse.Namespace) -> bool:
    """Whether people read what is written."""
    return sys.stdout.isatty() and not arguments.json


def _write_json(value: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def classify(arguments: argparse.Namespace) -> int:
    """A line an image, as answers come; those that are refused are told of on stderr."""
    output: Path | None = arguments.output
    if output is not None and not arguments.explain:
        raise UsageError("-o is where --explain draws; give both")
    files = image_files(arguments.files)
    if output is not None:
        _check_output(output, len(files))
    code = 0
    with _client(arguments) as client:
        found = client.classify_each(
            [file.content for file in files],
            model=arguments.model,
            top_k=arguments.top_k,
            explain=arguments.explain,
            progress=len(files) > 1 and not sys.stdout.isatty() and available(),
        )
        for row, (file, one) in enumerate(zip(files, found, strict=True)):
            if isinstance(one, InvalidInputError):
                message = one.message.replace(f"images[{row}]", file.name, 1)
                sys.stderr.write(f"triptych: {message}\n")
                code = _SOME_REFUSED
                continue
            if output is not None:
                _draw(output, row, file, one, single=len(files) == 1)
            if _plain(arguments):
                top = ", ".join(f"{score.label} {score.score:.3f}" for score in one.top)
                print(f"{file.name}: {top}", flush=True)
            else:
                _write_json({"file": file.name, **msgspec.to_builtins(one)})
    return code


def _check_output(output: Path, images: int) -> None:
    if images > 1 and output.suffix:
        raise UsageError(f"{output}: the heatmaps of {images} images need a folder")
    if images == 1 and output.suffix.lower() != ".png" and not output.is_dir():
        raise UsageError(f"{output}: only .png is written")


def _draw(output: Path, row: int, file: ImageFile, one: Prediction, *, single: bool) -> None:
    assert one.heatmap is not None
    png = overlay(file.read(), one.heatmap)
    if single and not output.is_dir():
        output.write_bytes(png)
        return
    output.mkdir(parents=True, exist_ok=True)
    stem = "stdin" if file.name == "-" else Path(file.name).stem
    (output / f"{row:04}-{stem}.png").write_bytes(png)


def generate(arguments: argparse.Namespace) -> int:
    """The text as it is written; or, as JSON, the whole answer."""
    asked = {
        "model": arguments.model, "max_tokens": arguments.max_tokens, "seed": arguments.seed,
        "temperature": arguments.temperature, "top_p": arguments.top_p, "top_k": arguments.top_k,
        "stop": arguments.stop, "echo": arguments.echo or None,
    }  # fmt: skip
    prompt = prompt_of(arguments.prompt)
    with _client(arguments) as client:
        if arguments.json:
            _write_json(client.generate(prompt, **asked))
            return 0
        last = ""
        with client.stream(prompt, **asked) as chunks:
            for chunk in chunks:
                sys.stdout.write(chunk.text)
                sys.stdout.flush()
                last = chunk.text or last
    if sys.stdout.isatty() and not last.endswith("\n"):
        print()  # so that the prompt of the shell does not follow the text
    return 0


def sample(arguments: argparse.Namespace) -> int:
    """A grid, single files, or JSON with the pictures in it."""
    output: str | None = arguments.output
    if output is None and _plain(arguments):
        raise UsageError("where to? -o FILE.png, -o FOLDER, or --json")
    asked = {
        "labels": arguments.labels, "n": arguments.n, "seed": arguments.seed,
        "model": arguments.model,
    }  # fmt: skip
    with _client(arguments) as client:
        if output is None and arguments.json:
            _write_json(client.sample(**asked))
            return 0
        if output in (None, "-"):
            sys.stdout.buffer.write(client.grid(**asked, columns=arguments.columns).png)
            return 0
        assert output is not None
        path = Path(output)
        if not output.endswith("/") and not path.is_dir() and path.suffix:
            if path.suffix.lower() != ".png":
                raise UsageError(f"{output}: only .png is written")
            drawn = client.grid(**asked, columns=arguments.columns)
            drawn.save(path)
            _tell(arguments, [output], drawn.model, drawn.version, drawn.seed)
            return 0
        gallery = client.sample(**asked)
        path.mkdir(parents=True, exist_ok=True)
        files = [_save(path, row, one) for row, one in enumerate(gallery)]
        _tell(arguments, files, gallery.model, gallery.version, gallery.seed)
    return 0


def _save(folder: Path, row: int, picture: Picture) -> str:
    name = re.sub(r"[^\w.-]+", "-", picture.label)
    path = folder / f"{row:04}-{name}.png"
    path.write_bytes(picture.png)
    return str(path)


def _tell(
    arguments: argparse.Namespace, files: Sequence[str], model: str, version: str, seed: int
) -> None:
    if _plain(arguments):
        what = files[0] if len(files) == 1 else f"{files[0]} to {files[-1]}"
        print(f"{what}: by {model} {version}, --seed {seed}")
        return
    _write_json({"files": files, "model": model, "version": version, "seed": seed})


def models(arguments: argparse.Namespace) -> int:
    """A line a model."""
    with _client(arguments) as client:
        for one in client.models():
            if _plain(arguments):
                print(f"{one.id:<20} {one.kind:<6} {one.version}  {', '.join(one.labels)}".rstrip())
                for other in one.versions:
                    if other.version != one.version:
                        called = f"{one.id}@{other.version}"
                        print(f"{called:<20} {one.kind:<6} on trial ({other.role})")
            else:
                _write_json(one)
    return 0


def health(arguments: argparse.Namespace) -> int:
    """Whether all models are there; what is served, and what is wrong."""
    with _client(arguments) as client:
        found = client.ready()
    if not _plain(arguments):
        _write_json(found)
        return 0 if found.ready else _NOT_READY
    print("ready" if found.ready else "not ready")
    for name, version in sorted(found.serving.items()):
        print(f"  {name} {version}")
    for name, problem in sorted(found.problems.items()):
        print(f"  {name}: {problem}")
    return 0 if found.ready else _NOT_READY


def infer(arguments: argparse.Namespace) -> int:
    """The output tensors, as a file of numpy's or as JSON."""
    import numpy as np  # noqa: PLC0415  # of this command alone

    output: Path | None = arguments.output
    if output is not None and output.suffix != ".npz":
        raise UsageError(f"{output}: only .npz is written")
    tensors = {}
    for word in arguments.tensors:
        name, equals, file = word.partition("=")
        if not equals:
            raise UsageError(f"{word}: an input is NAME=FILE.npy")
        try:
            tensors[name] = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UsageError(f"{file}: {error}") from error
    with _client(arguments) as client:
        found = client.infer(arguments.model, tensors)
    if output is None:
        outputs = {name: array.tolist() for name, array in found.outputs.items()}
        _write_json({"model": found.model, "version": found.version, "outputs": outputs})
    else:
        np.savez(output, **found.outputs)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "classify": classify,
    "generate": generate,
    "sample": sample,
    "models": models,
    "infer": infer,
    "health": health,
}

"""Ask a running service for one answer of each kind and print it.

The generator draws the picture that the classifier is shown, so nothing but Python is needed.
Exits 1 at the first answer that is not what it should be.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import time
import urllib.error
import urllib.request
from typing import Any

DEFAULT_URL = "http://127.0.0.1:3000"
REQUEST_TIMEOUT_S = 30.0
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class CheckError(Exception):
    """The service did not answer as it should."""


class Client:
    """The few requests that the check makes."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def send(self, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """Return the body of a 200; raises CheckError for any other answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, names)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise CheckError(f"{path}: {error.code} {error.read()[:300]!r}") from error
        except OSError as error:
            raise CheckError(f"{path}: {error}") from error

    def json(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send JSON (or GET when there is none) and return the decoded answer."""
        raw = None if body is None else json.dumps(body).encode()
        return json.loads(self.send(path, raw, content_type="application/json"))


def wait_until_ready(client: Client, timeout_s: float) -> float:
    """Return the seconds until /readyz said 200; raises CheckError after `timeout_s`."""
    start_s = time.monotonic()
    while True:
        try:
            client.send("/readyz")
            return time.monotonic() - start_s
        except CheckError as error:
            if time.monotonic() - start_s > timeout_s:
                raise CheckError(f"not ready after {timeout_s:.0f} s: {error}") from error
            time.sleep(0.2)


def expect(holds: bool, what: str) -> None:
    """Raise CheckError unless it holds."""
    if not holds:
        raise CheckError(what)


def check(client: Client, *, ready_timeout_s: float) -> None:
    """One answer of each kind, printed; raises CheckError."""
    print(f"ready          after {wait_until_ready(client, ready_timeout_s):.1f} s")

    models = {model["kind"]: model for model in client.json("/v1/models")["data"]}
    for model in models.values():
        print(f"model          {model['id']} ({model['kind']}) {model['version']}")
    expect(set(models) >= {"cnn", "lstm", "gan"}, f"models of three kinds, not {sorted(models)}")
    label = models["gan"]["labels"][0]

    drawn = client.json(
        "/v1/images/generations",
        {"prompt": label, "n": 1, "seed": 1, "response_format": "b64_json"},
    )
    picture = base64.b64decode(drawn["data"][0]["b64_json"])
    expect(picture.startswith(PNG_SIGNATURE), "the drawn picture is no PNG")
    print(f"generations    {label}: a PNG of {len(picture)} bytes")

    seen = json.loads(client.send("/v1/classify", picture, content_type="image/png"))
    prediction = seen["predictions"][0]
    expect(prediction["label"] in models["cnn"]["labels"], f"unknown class in {prediction}")
    print(f"classify       {prediction['label']} at {prediction['score']:.3f}")

    asked = {"prompt": "To be", "max_tokens": 40, "seed": 1}
    text = client.json("/v1/completions", asked)["choices"][0]["text"]
    again = client.json("/v1/completions", asked)["choices"][0]["text"]
    expect(len(text) == 40, f"40 characters, not {len(text)}")
    expect(text == again, "the same seed wrote two texts")
    print(f"completions    {text!r}")

    sheet = client.send(
        "/v1/sample",
        json.dumps({"labels": [label], "n": 4, "seed": 1}).encode(),
        content_type="application/json",
        accept="image/png",
    )
    expect(sheet.startswith(PNG_SIGNATURE), "the sheet of samples is no PNG")
    print(f"sample         4 pictures, a PNG of {len(sheet)} bytes")

    parts = sorted(set(re.findall(r'"(page/[\w.]+)"', client.send("/").decode())))
    expect(len(parts) >= 4, f"the page is made of {parts}")
    for part in parts:
        expect(len(client.send(f"/{part}")) > 0, f"{part} is empty")
    print(f"page           and {', '.join(parts)}")

    counted = client.send("/metrics").decode()
    for kind in ("cnn", "lstm", "gan"):
        series = f'triptych_requests_total{{model="{models[kind]["id"]}",outcome="ok"'
        expect(series in counted, f"/metrics has no {series}...}}")
    print("metrics        count every answer")


def main() -> None:
    """Check the service that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    parser.add_argument(
        "--ready-timeout-s",
        type=float,
        default=60.0,  # a cold start with three models takes some seconds
        help="how long to wait for /readyz (60)",
    )
    arguments = parser.parse_args()
    try:
        check(Client(arguments.url), ready_timeout_s=arguments.ready_timeout_s)
    except CheckError as error:
        sys.exit(f"check_service.py: {error}")


if __name__ == "__main__":
    main()

"""Load on the three families at once; `make load` runs it by run.sh, for machines you may load.

The exit code is 1 if any request failed, or if one of the three was never answered. A 429 counts
as failed: raise the users until it comes, and you have found the limit.
"""

from __future__ import annotations

import colorsys
import io
import random
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.env import Environment
from PIL import Image, ImageDraw

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PROMPTS = ("ROMEO:", "To be, or not to be", "What light", "First Citizen:\n", "Good morrow")
PICTURES = 64
PICTURE_SIZE_PX = 96
COMPLETION_CHARS = 64
SAMPLES = 4
ROUTES = ("/v1/classify", "/v1/completions", "/v1/sample")


def draw_picture(seed: int) -> bytes:
    """A JPEG of some ellipses on a coloured ground: decodes like a small photograph."""
    rng = random.Random(seed)

    def colour() -> tuple[int, int, int]:
        red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.random(), rng.random())
        return round(red * 255), round(green * 255), round(blue * 255)

    image = Image.new("RGB", (PICTURE_SIZE_PX, PICTURE_SIZE_PX), colour())
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        left, top = rng.randrange(PICTURE_SIZE_PX), rng.randrange(PICTURE_SIZE_PX)
        size = rng.randrange(8, PICTURE_SIZE_PX)
        draw.ellipse((left, top, left + size, top + size), fill=colour())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


class Visitor(FastHttpUser):
    """Mostly classifies, sometimes writes, sometimes draws."""

    wait_time = between(0.0, 0.1)
    pictures = tuple(draw_picture(seed) for seed in range(PICTURES))

    @task(8)
    def classify(self) -> None:
        """One picture as the raw body."""
        with self.client.post(
            ROUTES[0],
            data=random.choice(self.pictures),
            headers={"content-type": "image/jpeg"},
            catch_response=True,
        ) as answer:
            if answer.status_code == 200 and "predictions" not in answer.json():
                answer.failure("no predictions")

    @task(1)
    def complete(self) -> None:
        """A text of 64 characters."""
        asked = {"prompt": random.choice(PROMPTS), "max_tokens": COMPLETION_CHARS}
        with self.client.post(ROUTES[1], json=asked, catch_response=True) as answer:
            if answer.status_code == 200:
                chars = len(answer.json()["choices"][0]["text"])
                if chars != COMPLETION_CHARS:
                    answer.failure(f"{chars} characters, not {COMPLETION_CHARS}")

    @task(2)
    def sample(self) -> None:
        """A sheet of 4 pictures of one class."""
        asked = {"labels": [random.choice(LABELS)], "n": SAMPLES}
        with self.client.post(
            ROUTES[2], json=asked, headers={"accept": "image/png"}, catch_response=True
        ) as answer:
            if answer.status_code == 200 and not (answer.content or b"").startswith(b"\x89PNG"):
                answer.failure("no PNG")


@events.quitting.add_listener
def fail_when_unanswered(environment: Environment, **_: Any) -> None:
    """A service that hangs answers nothing, and nothing has failed: that is no success."""
    answered = {
        name for (name, _), entry in environment.stats.entries.items() if entry.num_requests
    }
    silent = sorted(set(ROUTES) - answered)
    if silent:
        print(f"no answer from {', '.join(silent)}")
        environment.process_exit_code = 1

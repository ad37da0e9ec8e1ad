"""Users that wait for their answers, on the three families at once; `make load` runs it by run.sh.

The exit code is 1 if any request failed, or if an endpoint was never answered. A 429 counts
as failed: raise the users until it comes, and you have found the limit.
"""

from __future__ import annotations

import os
import random
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.env import Environment

from tests.bench.load.pictures import draw_picture

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PROMPTS = ("ROMEO:", "To be, or not to be", "What light", "First Citizen:\n", "Good morrow")
PICTURES = 64
COMPLETION_CHARS = 64
SAMPLES = 4
CLASSIFIER = "cifar10"
CLASSIFIER_BYTES = 32 * 32 * 3
ROUTES = ("/v1/classify", f"/v2/models/{CLASSIFIER}/infer", "/v1/completions",
          "/v1/completions, streamed", "/v1/sample")  # fmt: skip


class Visitor(FastHttpUser):
    """Mostly classifies, sometimes writes, sometimes draws: the shares of the open loop's mix."""

    wait_time = between(0.0, 0.1)
    pictures = tuple(draw_picture(seed) for seed in range(PICTURES))

    def on_start(self) -> None:
        """Everything once: a short run must not miss what is seldom asked for."""
        for ask in (self.classify, self.infer, self.complete, self.stream, self.sample):
            ask()

    @task(14)
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

    @task(2)
    def infer(self) -> None:
        """One image as a tensor: of a single input, its bytes alone will do."""
        with self.client.post(
            ROUTES[1],
            data=os.urandom(CLASSIFIER_BYTES),
            headers={"Inference-Header-Content-Length": "0"},
            catch_response=True,
        ) as answer:
            if answer.status_code == 200 and b"probability" not in (answer.content or b""):
                answer.failure("no probability")

    @task(1)
    def complete(self) -> None:
        """A text of 64 characters."""
        asked = {"prompt": random.choice(PROMPTS), "max_tokens": COMPLETION_CHARS}
        with self.client.post(ROUTES[2], json=asked, catch_response=True) as answer:
            if answer.status_code == 200:
                chars = len(answer.json()["choices"][0]["text"])
                if chars != COMPLETION_CHARS:
                    answer.failure(f"{chars} characters, not {COMPLETION_CHARS}")

    @task(1)
    def stream(self) -> None:
        """The same, streamed."""
        asked = {
            "prompt": random.choice(PROMPTS), "max_tokens": COMPLETION_CHARS, "stream": True,
        }  # fmt: skip
        with self.client.post(ROUTES[2], json=asked, name=ROUTES[3], catch_response=True) as answer:
            if answer.status_code == 200 and "data: [DONE]" not in (answer.text or ""):
                answer.failure("the stream did not end")

    @task(2)
    def sample(self) -> None:
        """A sheet of 4 pictures of one class."""
        asked = {"labels": [random.choice(LABELS)], "n": SAMPLES}
        with self.client.post(
            ROUTES[4], json=asked, headers={"accept": "image/png"}, catch_response=True
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

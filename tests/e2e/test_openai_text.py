"""OpenAI's client, and what evaluates language models through it: text in all its options."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openai
import pytest

from service.store import Store
from tests.e2e.server import Server

MODEL = "shakespeare"
PROMPT = "The cat sat."


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def complete(client: openai.OpenAI, prompt: Any = PROMPT, **asked: Any) -> Any:
    return client.completions.create(model=MODEL, prompt=prompt, **asked)


class Loop:
    """Scores a text with onnxruntime alone, one character after the other."""

    def __init__(self, store: Path) -> None:
        found = Store(store)
        manifest = found.verified(MODEL, found.current(MODEL))
        graph = found.folder(MODEL, manifest.version) / manifest.graph
        self.vocabulary = manifest.vocabulary
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        (self._width,) = manifest.input("state").shape[1:]

    def tokens(self, text: str) -> list[int]:
        return [self.vocabulary.index(character) for character in text]

    def score(self, tokens: list[int]) -> list[float]:
        """Log-probabilities in nats of all tokens but the first."""
        state = np.zeros((1, self._width), np.float32)
        found = []
        for token, following in pairwise(tokens):
            logits, state = self._session.run(
                ["logits", "state_out"], {"token": np.array([[token]]), "state": state}
            )
            wide = logits[0, 0].astype(np.float64)
            wide -= wide.max()
            found.append(float(wide[following] - np.log(np.exp(wide).sum())))
        return found


@pytest.fixture(scope="module")
def loop(store_copy: Path) -> Loop:
    return Loop(store_copy)


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_a_text_is_scored_as_a_plain_loop_does(
    client: openai.OpenAI, loop: Loop, max_tokens: int
) -> None:
    found = complete(client, max_tokens=max_tokens, echo=True, logprobs=0, temperature=0)
    (choice,) = found.choices
    assert choice.text[: len(PROMPT)] == PROMPT
    assert len(choice.text) == len(PROMPT) + max_tokens
    logprobs = choice.logprobs
    assert logprobs.tokens == list(choice.text)
    assert logprobs.text_offset == list(range(len(choice.text)))
    assert logprobs.token_logprobs[0] is None
    assert logprobs.top_logprobs[0] is None
    expected = loop.score(loop.tokens(choice.text))
    np.testing.assert_allclose(logprobs.token_logprobs[1:], expected, rtol=0, atol=1e-5)
    assert found.usage.prompt_tokens == len(PROMPT)
    assert found.usage.completion_tokens == max_tokens


def evaluation_request(prompts: list[list[int]]) -> dict[str, Any]:
    """What lm-evaluation-harness' `local-completions` sends to score continuations."""
    return {
        "model": MODEL,
        "prompt": prompts,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }


def evaluated(answer: dict[str, Any], context_lengths: list[int]) -> list[tuple[float, bool]]:
    """Sums of the continuations' log-probabilities, and whether each is what greed would write.

    Read as the harness reads them: sorted by index, context cut off in front, and the one generated
    token behind.
    """
    found = []
    choices = sorted(answer["choices"], key=itemgetter("index"))
    for choice, length in zip(choices, context_lengths, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][length:-1]
        tops = choice["logprobs"]["top_logprobs"][length:-1]
        greedy = all(one == max(top.values()) for one, top in zip(logprobs, tops, strict=True))
        found.append((sum(logprobs), greedy))
    return found


def test_an_evaluation_harness_scores_continuations(
    server: Server, client: openai.OpenAI, loop: Loop
) -> None:
    greedy = complete(client, "The dog", max_tokens=6, temperature=0).choices[0].text
    pairs = [("The cat", " sat."), ("The dog", greedy), ("a", " big bad dog"), ("To be", "e")]
    prompts = [loop.tokens(context + continuation) for context, continuation in pairs]
    lengths = [len(context) for context, _ in pairs]
    answer = server.post("/v1/completions", json=evaluation_request(prompts))
    assert answer.status_code == 200, answer.text
    found = evaluated(answer.json(), lengths)
    for (total, _), prompt, length in zip(found, prompts, lengths, strict=True):
        assert total == pytest.approx(sum(loop.score(prompt)[length - 1 :]), abs=1e-4)
    assert found[1][1]
    assert not found[2][1]


def test_the_harness_writes_until_a_stop(server: Server, client: openai.OpenAI) -> None:
    text = complete(client, max_tokens=30, temperature=0).choices[0].text
    until = text[10]
    asked = {
        "prompt": [PROMPT, "a"], "model": MODEL, "max_tokens": 30, "temperature": 0,
        "stop": [until, "\n\n"], "seed": 1234,
    }  # fmt: skip
    choices = server.post("/v1/completions", json=asked).json()["choices"]
    assert choices[0]["text"] == text[: text.index(until)]
    assert [choice["index"] for choice in choices] == [0, 1]


@pytest.mark.parametrize("logprobs", range(6))
def test_alternatives_hold_the_token_itself(client: openai.OpenAI, logprobs: int) -> None:
    found = complete(client, max_tokens=40, seed=3, logprobs=logprobs, temperature=2)
    told = found.choices[0].logprobs
    assert len(told.tokens) == len(told.top_logprobs) == 40
    for token, logprob, top in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, strict=True
    ):
        assert top[token] == logprob
        assert len(top) in (logprobs, logprobs + 1)
        assert all(other >= logprob for other in top.values()) or len(top) == logprobs
    assert told.text_offset == list(range(len(PROMPT), len(PROMPT) + 40))


def test_a_stop_is_a_string_or_a_list(client: openai.OpenAI) -> None:
    whole = complete(client, max_tokens=60, seed=5).choices[0].text
    stop = whole[20:22]
    cut = whole[: whole.index(stop)]
    for asked in (stop, [stop], ["Q!Q", stop]):
        (choice,) = complete(client, max_tokens=60, seed=5, stop=asked).choices
        assert (choice.text, choice.finish_reason) == (cut, "stop")


def test_choices_differ_and_repeat(client: openai.OpenAI) -> None:
    first, again = (complete(client, ["a", "b"], max_tokens=30, n=3, seed=8) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in again.choices]
    assert [choice.index for choice in first.choices] == list(range(6))
    assert len(set(texts[:3])) == len(set(texts[3:])) == 3
    alone = complete(client, "b", max_tokens=30, n=3, seed=8)
    assert texts[3:] == [choice.text for choice in alone.choices]


def test_a_stream_adds_up_to_the_answer(client: openai.OpenAI) -> None:
    asked = {"max_tokens": 50, "seed": 2, "n": 2, "echo": True, "logprobs": 2}
    whole = complete(client, **asked)
    options = {"include_usage": True, "include_obfuscation": False}
    *chunks, last = complete(client, **asked, stream=True, stream_options=options)
    assert last.choices == []
    assert last.usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.id for chunk in chunks} == {last.id}
    for choice in whole.choices:
        mine = [one for chunk in chunks for one in chunk.choices if one.index == choice.index]
        assert "".join(one.text for one in mine) == choice.text
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            told = [item for one in mine for item in getattr(one.logprobs, name)]
            assert told == getattr(choice.logprobs, name)
        assert [one.finish_reason for one in mine][-1] == choice.finish_reason


@pytest.mark.anyio
async def test_an_asynchronous_stream_with_usage(server: Server) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0
    ) as client:
        stream = await client.completions.create(
            model=MODEL, prompt="a", max_tokens=30, seed=2, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        chunks = [chunk async for chunk in stream]
        whole = await client.completions.create(model=MODEL, prompt="a", max_tokens=30, seed=2)
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"best_of": 3}, "best_of"), ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1.0}, "frequency_penalty"), ({"suffix": "b"}, "suffix"),
        ({"logit_bias": {"5": 10}}, "logit_bias"), ({"logprobs": 6}, "logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"mirostat": 1}}, "mirostat"), ({"stop": ["a"] * 5}, "stop"),
        ({"prompt": [[1, 99999]]}, "prompt[0]"), ({"prompt": ["a", "\u00e4"]}, "prompt[1]"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused(
    client: openai.OpenAI, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, **asked)
    assert refused.value.param == field
    assert refused.value.type == "invalid_request_error"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="cifar10", prompt="a")
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-3")
    assert missing.value.code == "not_found"


def test_a_text_becomes_tokens_and_text_again(server: Server, loop: Loop) -> None:
    answer = server.post("/v1/tokenize", json={"prompt": PROMPT, "model": MODEL}).json()
    assert answer["tokens"] == loop.tokens(PROMPT)
    assert (answer["count"], answer["max_model_len"]) == (len(PROMPT), 2000)
    several = server.post(
        "/v1/tokenize",
        json={"prompt": ["a", "", PROMPT], "return_token_strs": True, "add_special_tokens": True},
    ).json()
    assert several["tokens"] == [loop.tokens("a"), [], loop.tokens(PROMPT)]
    assert several["token_strs"] == [["a"], [], list(PROMPT)]
    assert several["count"] == 1 + len(PROMPT)
    back = server.post("/v1/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back == {"model": MODEL, "version": answer["version"], "prompt": PROMPT}


def test_a_harness_finds_the_tokens_where_vllm_has_them(server: Server, loop: Loop) -> None:
    info = server.get("/tokenizer_info").json()
    assert info["vocabulary"] == loop.vocabulary
    assert info["vocab_size"] == len(loop.vocabulary)
    assert info["eos_token"] is None
    asked = {"prompt": PROMPT + info["bos_token"], "add_special_tokens": False}
    found = server.post("/tokenize", json=asked).json()
    assert found == server.post("/v1/tokenize", json=asked).json()
    assert (
        server.post("/detokenize", json={"tokens": found["tokens"]}).json()["prompt"]
        == (asked["prompt"])
    )
    assert server.get("/tokenizer_info?model=cifar10").status_code == 404


@pytest.mark.parametrize(
    ("path", "asked", "status", "field", "words"),
    [
        ("tokenize", {"prompt": "na\u00efve"}, 400, "prompt", "position 2"),
        ("tokenize", {"prompt": ["a", "ba\u00efve"]}, 400, "prompt[1]", "position 2"),
        ("tokenize", {"prompt": "a" * 2001}, 413, "prompt", "limit is 2000"),
        ("tokenize", {"prompt": 5}, 400, "prompt", "int"),
        ("tokenize", {}, 400, "prompt", "prompt"),
        ("tokenize", {"prompt": "a", "text": "b"}, 400, "text", "text"),
        ("tokenize", {"prompt": "a", "model": "cifar10"}, 404, "model", "cifar10"),
        ("detokenize", {"tokens": [1, -1]}, 400, "tokens[1]", "position 1"),
        ("detokenize", {"tokens": [10**6]}, 400, "tokens[0]", "position 0"),
        ("detokenize", {"tokens": [10**30]}, 400, "tokens[0]", "position 0"),
        ("detokenize", {"tokens": "a"}, 400, "tokens", "array"),
    ],
)
def test_what_cannot_be_tokens_is_refused(
    server: Server, path: str, asked: dict[str, Any], status: int, field: str, words: str
) -> None:
    answer = server.post(f"/v1/{path}", json=asked)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == field
    assert words in error["message"]

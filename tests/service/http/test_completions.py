"""A choice shows what can no longer become a stop string, and nothing else."""

from __future__ import annotations

import random

import msgspec
import pytest

from service.errors import InvalidInputError
from service.http.completions import Choice, CompletionRequest, Envelope, event, usage
from service.sequences import FinishReason, Token

VOCABULARY = "abcdefgh\n"


def tokens(text: str) -> list[Token]:
    return [Token(VOCABULARY.index(character)) for character in text]


def choice(*stops: str, **options: object) -> Choice:
    return Choice(index=0, vocabulary=VOCABULARY, stops=stops, **options)  # type: ignore[arg-type]


def push(one: Choice, text: str, finish: FinishReason | None = None) -> str:
    return one.text_of(one.push(tokens(text), finish))


def test_without_stops_everything_is_shown_at_once() -> None:
    one = choice()
    assert [push(one, character) for character in "abc"] == ["a", "b", "c"]


def test_the_beginning_of_a_stop_is_held_back() -> None:
    one = choice("bcd")
    shown = [push(one, character) for character in "abcabc"]
    assert shown == ["a", "", "", "bca", "", ""]
    assert push(one, "d", "stop") == ""
    assert one.body()["text"] == "abca"


def test_what_was_held_back_is_shown_at_the_end_of_the_length() -> None:
    one = choice("bcd")
    assert push(one, "ab") == "a"
    assert push(one, "c", "length") == "bc"


def test_an_end_without_a_token_shows_what_was_held_back() -> None:
    one = choice("bcd")
    assert push(one, "ab") == "a"
    assert push(one, "", "length") == "b"


def test_a_stop_alone_leaves_nothing() -> None:
    one = choice("ab")
    assert push(one, "ab", "stop") == ""
    assert one.body() == {"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}


def test_a_repetitive_stop_is_held_to_its_longest_beginning() -> None:
    one = choice("aab")
    assert [push(one, character) for character in "aaaa"] == ["", "", "a", "a"]
    assert push(one, "b", "stop") == ""
    assert one.body()["text"] == "aa"


def test_of_several_stops_each_is_held_back() -> None:
    one = choice("gh", "bcde")
    assert [push(one, character) for character in "abcg"] == ["a", "", "", "bc"]
    assert push(one, "h", "stop") == ""


def test_what_is_streamed_is_what_the_whole_answer_says() -> None:
    """Random texts and stops: chunks concatenate to the body, and no stop is ever in it."""
    rng = random.Random(0)
    for _ in range(500):
        stops = tuple(
            "".join(rng.choices("abc", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 4))
        )
        streamed, whole = choice(*stops), choice(*stops)
        text, shown = "", ""
        finish: FinishReason | None = None
        while finish is None:
            text += rng.choice("abc")
            if text.endswith(stops):
                finish = "stop"
            elif len(text) == 30:
                finish = "length"
            shown += push(streamed, text[-1], finish)
        push(whole, text, finish)
        assert shown == whole.body()["text"] == streamed.body()["text"]
        assert not any(stop in shown for stop in stops)
        ending = next((stop for stop in stops if text.endswith(stop)), "")
        assert shown == text.removesuffix(ending)


def test_logprobs_follow_the_shown_tokens_with_their_offsets() -> None:
    one = choice("cd", prompt="xyz", with_logprobs=True)
    scored = [
        Token(0, -0.5, [(0, -0.5), (1, -1.5)]),
        Token(2, -0.25, []),
        Token(3, -0.125, [(3, -0.125)]),
    ]
    one.push(scored, "stop")
    assert one.body()["logprobs"] == {
        "tokens": ["a"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"a": -0.5, "b": -1.5}],
        "text_offset": [3],
    }


def test_an_echo_comes_before_the_text() -> None:
    one = choice(
        prompt="ab",
        echoed=[Token(0), Token(1, -0.75, [(1, -0.75)])],
        with_logprobs=True,
    )
    one.push([Token(2, -0.5, [])], "length")
    body = one.body()
    assert body["text"] == "abc"
    assert body["logprobs"]["token_logprobs"] == [None, -0.75, -0.5]
    assert body["logprobs"]["text_offset"] == [0, 1, 2]
    assert body["logprobs"]["top_logprobs"][0] is None
    chunk = one.echo_chunk()
    assert chunk["text"] == "ab"
    assert chunk["finish_reason"] is None


def test_chunks_know_their_offset() -> None:
    one = choice(prompt="ab", with_logprobs=True)
    first = one.chunk(one.push([Token(0, -1.0, []), Token(1, -1.0, [])], None))
    second = one.chunk(one.push([Token(2, -1.0, [])], "length"))
    assert first["logprobs"]["text_offset"] == [2, 3]
    assert second["logprobs"]["text_offset"] == [4]
    assert (first["finish_reason"], second["finish_reason"]) == (None, "length")


@pytest.mark.parametrize("stop", [["a"] * 5, "", ["a", ""], "a" * 65])
def test_bad_stops_are_refused(stop: str | list[str]) -> None:
    with pytest.raises(InvalidInputError, match="stop") as caught:
        CompletionRequest(stop=stop).stops()
    assert caught.value.field == "stop"


def test_stops_are_one_or_many_or_none() -> None:
    assert CompletionRequest(stop="ab").stops() == ["ab"]
    assert CompletionRequest(stop=["a", "b"]).stops() == ["a", "b"]
    assert CompletionRequest().stops() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("best_of", 2), ("presence_penalty", 0.5), ("frequency_penalty", -1.0),
        ("logit_bias", {"5": 1.0}), ("suffix", "x"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        msgspec.convert({field: value}, CompletionRequest).refuse_unsupported()
    assert caught.value.field == field


def test_defaults_of_what_is_not_done_are_allowed() -> None:
    CompletionRequest(best_of=3, n=3, presence_penalty=0, logit_bias={}).refuse_unsupported()


def test_the_envelope_names_model_version_seed_and_digest() -> None:
    envelope = Envelope("m", "v", "0123456789abcdef", 7)
    body = envelope.body([], usage(3, 4))
    assert body["object"] == "text_completion"
    assert (body["model"], body["version"], body["seed"]) == ("m", "v", 7)
    assert body["system_fingerprint"] == "fp_0123456789ab"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert envelope.body([])["id"] == body["id"]
    assert "usage" not in envelope.body([])
    assert event(b"{}") == b"data: {}\n\n"

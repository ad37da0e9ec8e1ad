"""Text as a model's tokens and back: `POST /v1/tokenize` and `POST /v1/detokenize`.

Shapes follow vLLM's `/tokenize`, `/detokenize` and `/tokenizer_info`, which are there under these
names too, for evaluation harnesses; a list of prompts gives a list of lists.
"""

from __future__ import annotations

from typing import NotRequired

import msgspec
from typing_extensions import TypedDict

from service.contract import Manifest
from service.errors import InvalidInputError, TooLargeError
from service.vocabulary import Vocabulary


class TokenizeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A text, or several. There are no special tokens that could be added."""

    prompt: str | list[str]
    model: str | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The tokens of one text."""

    tokens: list[int]
    model: str | None = None


class Tokens(TypedDict):
    """Tokens of a text, or of each of several; `count` of them in all.

    `max_model_len` is the longest prompt that the service takes; the model itself has no limit.
    `token_strs` are their characters, if asked for.
    """

    model: str
    version: str
    count: int
    max_model_len: int
    tokens: list[int | list[int]]
    token_strs: NotRequired[list[str | list[str]]]


class Text(TypedDict):
    """What the tokens spell."""

    model: str
    version: str
    prompt: str


class TokenizerInfo(TypedDict):
    """What the tokens are: one per character of `vocabulary`, in the order of their numbers.

    `bos_token` is what an empty prompt starts from. Nothing ends a text but its length or a stop.
    """

    model: str
    version: str
    tokenizer_class: str
    vocabulary: str
    vocab_size: int
    bos_token: str
    eos_token: None


def tokenizer_info(manifest: Manifest, vocabulary: Vocabulary) -> TokenizerInfo:
    """Describe a model's tokens."""
    return {
        "model": manifest.name,
        "version": manifest.version,
        "tokenizer_class": "characters",
        "vocabulary": vocabulary.characters,
        "vocab_size": len(vocabulary),
        "bos_token": vocabulary.decode([vocabulary.first_token]),
        "eos_token": None,
    }


def tokenize(
    asked: TokenizeRequest, manifest: Manifest, vocabulary: Vocabulary, *, max_chars: int
) -> Tokens:
    """Encode each prompt.

    Raises:
        InvalidInputError: a character that the vocabulary lacks; names it and its position.
        TooLargeError: a prompt of more than `max_chars` characters.

    """
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    single = prompts is not asked.prompt
    rows: list[list[int]] = []
    for index, prompt in enumerate(prompts):
        field = "prompt" if single else f"prompt[{index}]"
        if len(prompt) > max_chars:
            raise TooLargeError(
                f"{field} has {len(prompt)} characters; the limit is {max_chars}", field=field
            )
        rows.append(list(vocabulary.encode(prompt, field)))
    found: Tokens = {
        "model": manifest.name,
        "version": manifest.version,
        "count": sum(map(len, rows)),
        "max_model_len": max_chars,
        "tokens": [*rows[0]] if single else [*rows],
    }
    if asked.return_token_strs:
        characters = [list(prompt) for prompt in prompts]
        found["token_strs"] = [*characters[0]] if single else [*characters]
    return found


def detokenize(asked: DetokenizeRequest, manifest: Manifest, vocabulary: Vocabulary) -> Text:
    """Decode the tokens; raises InvalidInputError that names the first that is none."""
    for position, token in enumerate(asked.tokens):
        if not 0 <= token < len(vocabulary):
            raise InvalidInputError(
                f"tokens has {token} at position {position}; the model's are 0 to "
                f"{len(vocabulary) - 1}",
                field=f"tokens[{position}]",
            )
    return {
        "model": manifest.name,
        "version": manifest.version,
        "prompt": vocabulary.decode(asked.tokens),
    }

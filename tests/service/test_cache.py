"""Answers kept: the least recently used goes first, and the bytes are bounded."""

from __future__ import annotations

from service.cache import Cache


def test_what_was_put_is_found() -> None:
    cache = Cache(100)
    cache.put("a", "answer", 10)
    assert cache.get("a") == "answer"
    assert cache.get("b") is None
    assert cache.bytes == 10


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(30)
    for key in "abc":
        cache.put(key, key, 10)
    cache.get("a")
    cache.put("d", "d", 10)
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    assert cache.bytes == 30


def test_the_bytes_are_bounded_whatever_comes() -> None:
    cache = Cache(50)
    for number in range(100):
        cache.put(number, number, number % 40)
        assert cache.bytes <= 50
    assert cache.get(99) == 99


def test_what_is_larger_than_all_is_not_kept() -> None:
    cache = Cache(50)
    cache.put("a", "a", 10)
    cache.put("b", "b", 51)
    assert cache.get("b") is None
    assert cache.get("a") == "a"


def test_the_same_key_is_counted_once() -> None:
    cache = Cache(50)
    cache.put("a", "a", 10)
    cache.put("a", "a", 10)
    assert cache.bytes == 10


def test_without_bytes_it_is_off() -> None:
    assert not Cache(0).on
    assert Cache(1).on

"""Figures and texts of strangers, as people read them."""

from __future__ import annotations

import pytest

from eurosky_pipeline.words import human_bytes, human_duration, one_line, squeezed


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (720, "12 min"), (11_400, "3 h 10 min")]
)
def test_durations_are_no_more_exact_than_guesses(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**60, "1048576.0 TiB")]
)
def test_sizes_are_short(size: int, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("text", "longest", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("a\nb\x1b[31m\u202ec", 80, "a b [31m c"),
        ("", 3, ""),
    ],
    ids=["as long", "longer", "what moves a cursor", "empty"],
)
def test_a_strangers_text_is_one_line_that_moves_no_cursor(text: str, longest: int, shown: str) -> None:
    assert one_line(text, longest) == shown


def test_a_persons_words_are_squeezed_into_one_line_and_cut() -> None:
    assert squeezed(" a\x1b[31m red\n\tone\x00\u202e ", 80) == "a [31m red one"
    assert squeezed("ab  cd", 4) == "ab c"

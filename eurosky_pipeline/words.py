"""How figures, and texts of strangers, are put into words for people: in the terminal, in the UI, in logs and pages."""

from __future__ import annotations

from typing import Final

MAX_QUOTED: Final = 80
"""Characters of a stranger's word that is repeated to say which one is meant."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def human_bytes(size_bytes: float) -> str:
    """`1536` → `1.5 KiB`."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in _UNITS:
        size_bytes /= 1024
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
    return f"{size_bytes:.1f} {unit}"


def human_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 10 min`: no more exact than a guess can be."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def one_line(text: str, longest: int = MAX_QUOTED) -> str:
    """Printable, on one line, at most so many characters, and nothing in it that moves a terminal's cursor."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def squeezed(text: str, longest: int) -> str:
    """Printable, on one line, with no space twice, and cut after so many characters: a person's words, to be kept."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:longest]

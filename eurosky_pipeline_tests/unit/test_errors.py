"""The error tree: what each error tells its reader, and where each kind stands."""

import inspect
import re

import pytest

from eurosky_pipeline import errors
from eurosky_pipeline.errors import (
    ConflictError,
    EuroskyError,
    FatalError,
    IntegrityError,
    PermanentError,
    SettingsError,
    StoppedError,
    TransientError,
)


@pytest.mark.parametrize(
    ("kind", "parent", "code"),
    [
        (TransientError, EuroskyError, "transient"),
        (PermanentError, EuroskyError, "permanent"),
        (IntegrityError, PermanentError, "integrity"),
        (FatalError, EuroskyError, "fatal"),
        (SettingsError, FatalError, "settings"),
        (ConflictError, FatalError, "conflict"),
        (StoppedError, FatalError, "stopped"),
    ],
)
def test_each_kind_has_its_place_and_its_code(kind: type[EuroskyError], parent: type, code: str) -> None:
    assert kind.__bases__ == (parent,)
    assert kind("what happened").code == code


def test_the_drawn_tree_names_every_class_and_no_other() -> None:
    drawn = set(re.findall(r"\b\w+Error\b", errors.__doc__ or ""))
    defined = {kind.__name__ for _, kind in inspect.getmembers(errors, inspect.isclass)}
    assert drawn == defined


def test_an_error_says_what_happened_and_what_to_do() -> None:
    error = FatalError("the disk is full", code="disk_full", hint="make room")
    assert (str(error), error.message, error.code, error.hint) == (
        "the disk is full",
        "the disk is full",
        "disk_full",
        "make room",
    )
    assert error.with_hint() == "the disk is full → make room"


def test_an_error_without_a_hint_is_its_message_alone() -> None:
    assert EuroskyError("it broke").with_hint() == "it broke"


def test_a_transient_error_carries_the_servers_own_word_on_when() -> None:
    assert TransientError("busy").retry_after_s is None
    assert TransientError("busy", retry_after_s=2.5).retry_after_s == 2.5


def test_an_integrity_error_names_the_byte_at_fault_where_there_is_one() -> None:
    assert str(IntegrityError("the varint is cut short", offset=0)) == "the varint is cut short (at byte 0)"
    assert str(IntegrityError("the tree has no root")) == "the tree has no root"

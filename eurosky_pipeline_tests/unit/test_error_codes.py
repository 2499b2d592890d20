"""Every error code: where it comes from, that docs/errors.md tells what it means, and that no document invents one."""

import re
from collections import Counter
from pathlib import Path

import pytest

from eurosky_pipeline_tests.error_codes import COMMAND, KINDS, PACKAGE, ROOT, RaiseSite, Source

REPOSITORY = PACKAGE.parent
PAGE = REPOSITORY / "docs" / "errors.md"
DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
ROW = re.compile(r"^\| `([^`]+)` \| ([a-z · ]+) \| (.+) \| (.+) \|$", re.M)
NAMED = [
    re.compile(r'"(?:error_)?code": ?"([^"…]+)"'),  # in an example of JSON
    re.compile(r"\bcode(?:s|=| is|:)? `([a-z_]+)`"),
    re.compile(r"\[([a-z]+(?:_[a-z]+)+)\]\s*$", re.M),  # at the end of a line that `eurosky migrate` prints
]

SOURCE = Source()
CODES = SOURCE.kinds_by_code()


def documented() -> dict[str, tuple[str, str, str]]:
    return {code: (kind, meaning, advice) for code, kind, meaning, advice in ROW.findall(PAGE.read_text("utf-8"))}


def test_the_source_is_read_whole() -> None:
    assert len(CODES) > 100
    assert {"wrong_password", "disk", "disk_full", "usage", "corrupt_at_source", "lease_held"} <= CODES.keys()


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code_is_documented_with_who_retries_it_and_what_to_do(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code), "snake_case, in letters"
    assert len(code) <= 64, "the registry's column"
    assert code in documented(), f"{PAGE.name} lacks {code}"
    kind, meaning, advice = documented()[code]
    assert set(kind.split(" · ")) == CODES[code]
    assert kind == " · ".join(sorted(CODES[code]))
    assert len(meaning) > 8
    assert len(advice) > 3


def test_the_page_has_no_code_twice_and_none_that_cannot_happen() -> None:
    rows = Counter(code for code, *_ in ROW.findall(PAGE.read_text("utf-8")))
    assert {code for code, count in rows.items() if count > 1} == set()
    assert rows.keys() - CODES.keys() == set()


def test_no_two_codes_mean_the_same() -> None:
    meanings = Counter(meaning for _, meaning, _ in documented().values())
    assert {meaning for meaning, count in meanings.items() if count > 1} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_names_a_code_that_does_not_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    named = {code for pattern in NAMED for code in pattern.findall(text)}
    assert named - CODES.keys() == set()


@pytest.mark.parametrize("name", sorted(SOURCE.classes.keys() - KINDS.keys() - {ROOT}))
def test_each_class_is_made_somewhere_and_says_who_retries(name: str) -> None:
    assert any(site.kind == name for site in SOURCE.sites), "no rule of the answers' table, and no raise, makes one"
    assert SOURCE.kind_of(name) in KINDS.values()


def test_no_two_classes_share_a_default_code() -> None:
    defaults = Counter(item.code for item in SOURCE.classes.values() if item.code)
    assert {code for code, count in defaults.items() if count > 1} == set()


def test_the_classes_that_say_who_retries_are_never_raised_without_a_code() -> None:
    assert [site.place for site in SOURCE.sites if site.kind in KINDS and site.code is None] == []


def test_nobody_raises_the_root_since_it_does_not_say_who_retries() -> None:
    assert [site.place for site in SOURCE.sites if site.kind == ROOT] == []


def _needs_a_hint(site: RaiseSite) -> bool:
    is_stopped = site.kind == "StoppedError"  # a person asked for it, and knows
    return site.kind != COMMAND and SOURCE.kind_of(site.kind) == "fatal" and not is_stopped


def test_wherever_a_person_must_act_a_hint_says_what_to_do() -> None:
    assert [site.place for site in SOURCE.sites if _needs_a_hint(site) and not site.has_hint] == []

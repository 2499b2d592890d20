"""Every error code: where it comes from, that docs/troubleshooting.md tells what it means, and that no document
invents one."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from eurosky_pipeline_tests.error_codes import COMMAND, KINDS, PACKAGE, ROOT, RaiseSite, Source

REPOSITORY = PACKAGE.parent
PAGE = REPOSITORY / "docs" / "troubleshooting.md"
DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
HEADER = ["code", "kind", "meaning", "usual cause", "what to do"]
NAMED = [
    re.compile(r'"(?:error_)?code": ?"([^"…]+)"'),  # in an example of JSON
    re.compile(r"\bcode(?:s|=| is|:)? `([a-z_]+)`"),
    re.compile(r"\[([a-z]+(?:_[a-z]+)+)\]\s*$", re.M),  # at the end of a line that `eurosky migrate` prints
]

SOURCE = Source()
CODES = SOURCE.kinds_by_code()


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says of a code."""

    code: str
    kind: str
    meaning: str
    cause: str
    advice: str


def read_rows(text: str) -> list[Row]:
    """The rows of the tables of codes."""
    rows, is_table = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        is_table = line.startswith("|") and (is_table or cells == HEADER)
        if is_table and line.startswith("| `"):
            assert len(cells) == len(HEADER), f"{PAGE.name}: {len(cells)} cells, where {len(HEADER)} belong: {line}"
            rows.append(Row(cells[0].strip("`"), *cells[1:]))
    return rows


ROWS = read_rows(PAGE.read_text("utf-8"))
DOCUMENTED = {row.code: row for row in ROWS}


def test_the_source_is_read_whole() -> None:
    assert len(CODES) > 100
    assert {"wrong_password", "disk", "disk_full", "usage", "corrupt_at_source", "lease_held"} <= CODES.keys()


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code_is_documented_with_who_retries_it_its_meaning_its_cause_and_what_to_do(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code), "snake_case, in letters"
    assert len(code) <= 64, "the registry's column"
    assert code in DOCUMENTED, f"{PAGE.name} lacks {code}"
    row = DOCUMENTED[code]
    assert row.kind == " · ".join(sorted(CODES[code]))
    assert len(row.meaning) > 8
    assert len(row.cause) > 8
    assert len(row.advice) > 3
    assert len({_told(row.meaning), _told(row.cause), _told(row.advice)}) == 3, "a column says what another one says"


def _told(cell: str) -> str:
    """The words of a cell, whatever their case and the signs between them."""
    return " ".join(re.findall(r"\w+", cell.lower()))


def test_the_page_has_no_code_twice_and_none_that_cannot_happen() -> None:
    assert [code for code, count in Counter(row.code for row in ROWS).items() if count > 1] == []
    assert DOCUMENTED.keys() - CODES.keys() == set()


def test_each_row_that_begins_with_a_code_and_its_kind_stands_in_a_table_of_codes() -> None:
    kind = "|".join([*KINDS.values(), COMMAND])
    begun = re.findall(rf"^\| `([^`]+)` \| (?:{kind})\b", PAGE.read_text("utf-8"), re.M)
    assert [row.code for row in ROWS] == begun


def test_no_two_codes_mean_the_same() -> None:
    meanings = Counter(_told(row.meaning) for row in ROWS)
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

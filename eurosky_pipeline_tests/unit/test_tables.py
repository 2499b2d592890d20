"""A table on the disk: whole, or not there."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from eurosky_pipeline.artifacts.tables import written_csv
from eurosky_pipeline.errors import FatalError


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [["a,b", 'q"', "line\nbreak\r", "ü", ""], ["1", "True", "", " ", "\0"]]
    with written_csv(tmp_path / "t.csv", list("abcde")) as write:
        for row in rows:
            write(row)
        write([None, 1, True, "", ""])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [list("abcde"), *rows, ["", "1", "True", "", ""]]


def test_a_table_that_is_not_finished_leaves_the_one_of_before_and_nothing_else(tmp_path: Path) -> None:
    with written_csv(tmp_path / "t.csv", ["a"]) as write:
        write(["old"])
    before = (tmp_path / "t.csv").read_bytes()

    def break_off() -> None:
        with written_csv(tmp_path / "t.csv", ["a"]) as write:
            write(["new"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert (tmp_path / "t.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_disk_that_takes_nothing_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="cannot write") as caught, written_csv(tmp_path / "none" / "t.csv", ["a"]):
        pass
    assert caught.value.code == "disk"

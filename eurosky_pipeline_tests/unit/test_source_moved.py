"""Whether the source went on writing after the export."""

from __future__ import annotations

from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import cid_of
from eurosky_pipeline.atproto.repo import open_repo
from eurosky_pipeline.reconcile.source_moved import look_for_source_move
from eurosky_pipeline_tests.builders import make_posts, make_repo_car
from eurosky_pipeline_tests.fake_pds import FakePds, json_answer

NEWER = cid_of(b"a newer commit")


@pytest.mark.parametrize("is_moved", [False, True])
def test_it_is_said_whether_the_source_went_on_writing(tmp_path: Path, is_moved: bool) -> None:
    path = tmp_path / "account.car"
    path.write_bytes(make_repo_car(make_posts(2)))
    with open_repo(path) as repo:
        root, rev = repo.root, repo.commit.rev
    source = FakePds("old.example")
    source.faults["getLatestCommit"] = lambda _: json_answer(
        {"cid": str(NEWER if is_moved else root), "rev": "3kzzzzzzzzz2z"}
    )
    said = look_for_source_move(source.client, "did:plc:x", path)
    assert said.is_moved is is_moved
    assert rev in said.text
    assert ("3kzzzzzzzzz2z" in said.text) == is_moved


def test_a_source_that_cannot_be_asked_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "account.car"
    path.write_bytes(make_repo_car({}))
    source = FakePds("old.example")
    source.faults["getLatestCommit"] = lambda _: json_answer({}, 500)
    said = look_for_source_move(source.client, "did:plc:x", path)
    assert said.is_moved is None
    assert "not known: old.example answered 500" in said.text

"""The numbers of a repository."""

import pytest

from eurosky_pipeline.atproto.repo import RepoError, open_repo
from eurosky_pipeline.atproto.summary import RepoSummary, summarize
from eurosky_pipeline_tests.builders import (
    DID,
    REV,
    make_blob_ref,
    make_car,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo,
    make_repo_car,
)


@pytest.fixture
def summary_of(tmp_path):
    def summary_of_bytes(data: bytes) -> RepoSummary:
        path = tmp_path / "repo.car"
        path.write_bytes(data)
        with open_repo(path) as repo:
            return summarize(repo)

    return summary_of_bytes


def test_everything_is_counted_once_and_under_its_name(summary_of):
    records = {
        **make_posts(3),
        "app.bsky.feed.post/pictures": make_post(images=[make_blob_ref(data) for data in (b"1", b"1", b"2")]),
        "app.bsky.feed.post/old": make_post(image=make_legacy_blob_ref(b"3")),
        "app.bsky.actor.profile/self": {"avatar": make_legacy_blob_ref(b"2"), "banner": make_blob_ref(b"4")},
    }
    built = make_repo(records)
    assert summary_of(make_repo_car(records, orphans=[{"old": 1}], duplicates=4)) == RepoSummary(
        did=DID,
        rev=REV,
        version=3,
        root=built.root,
        records=6,
        records_by_collection={"app.bsky.actor.profile": 1, "app.bsky.feed.post": 5},
        current_blob_refs=4,
        legacy_blob_refs=2,
        distinct_blobs=4,
        blocks=len(built.blocks) + 1,
        orphan_blocks=1,
        duplicate_blocks=4,
    )


def test_collections_are_named_in_their_own_order_which_is_not_that_of_their_keys(summary_of):
    records = {f"app.bsky.{name}/self": {} for name in ("zoo", "feed.post", "feed")}  # in a key, "." comes before "/"
    assert list(summary_of(make_repo_car(records)).records_by_collection) == [
        "app.bsky.feed",
        "app.bsky.feed.post",
        "app.bsky.zoo",
    ]


def test_an_empty_repository_has_a_summary(summary_of):
    summary = summary_of(make_repo_car({}))
    assert (summary.records, summary.records_by_collection, summary.distinct_blobs, summary.blocks) == (0, {}, 0, 2)


def test_a_repository_that_is_not_whole_has_none(summary_of):
    built = make_repo(make_posts(3))
    with pytest.raises(RepoError, match="missing"):
        summary_of(make_car(built.root, built.blocks[:-1]))

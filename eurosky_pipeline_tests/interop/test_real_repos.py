"""Real repositories, from bluesky-social/indigo (MIT / Apache-2.0)."""

import pytest

from eurosky_pipeline.atproto.cid import parse_cid
from eurosky_pipeline.atproto.commit import encode_commit
from eurosky_pipeline.atproto.mst import build
from eurosky_pipeline.atproto.repo import RepoError, open_repo
from eurosky_pipeline.atproto.summary import RepoSummary, summarize
from eurosky_pipeline.errors import IntegrityError

FAKERMAKER = RepoSummary(
    did="did:plc:dpg45vsnuir2vqqqadsn6afg",
    rev="",
    version=2,
    root=parse_cid("bafyreia4dc3fd74u673yvxw4ytedf4h6hlodeorgrq6bf5v42g2mdn2xcy"),
    records=142,
    records_by_collection={
        "app.bsky.actor.profile": 1,
        "app.bsky.feed.like": 22,
        "app.bsky.feed.post": 26,
        "app.bsky.feed.repost": 15,
        "app.bsky.graph.follow": 78,
    },
    current_blob_refs=3,
    legacy_blob_refs=0,
    distinct_blobs=3,
    blocks=682,
    orphan_blocks=506,
    duplicate_blocks=8,
)
GREENGROUND = RepoSummary(
    did="did:plc:kzcqyc3unb33eh5sxzsfs25z",
    rev="3k67up3j7hf2x",
    version=3,
    root=parse_cid("bafyreidre5tvfhczb3ogh7mckqlmepb6q75tvkh2jvsbc7vmvysxfap3jm"),
    records=2,
    records_by_collection={"app.bsky.graph.follow": 2},
    current_blob_refs=0,
    legacy_blob_refs=0,
    distinct_blobs=0,
    blocks=4,
    orphan_blocks=0,
    duplicate_blocks=0,
)


@pytest.fixture
def repos(fixtures):
    return fixtures / "indigo-repos"


@pytest.mark.parametrize(
    ("name", "expected"), [("fakermaker", FAKERMAKER), ("greenground", GREENGROUND)], ids=["version 2", "version 3"]
)
def test_a_real_repository_is_read_to_the_last_number(repos, name, expected):
    with open_repo(repos / f"{name}.repo.car") as repo:
        assert summarize(repo) == expected


@pytest.mark.parametrize("name", ["fakermaker", "greenground"])
def test_a_real_repositorys_tree_is_built_again_from_its_keys(repos, name):
    with open_repo(repos / f"{name}.repo.car") as repo:
        nodes = {}
        entries = [(record.key.encode(), record.cid) for record in repo.records()]
        assert build(reversed(entries), nodes.__setitem__) == repo.commit.data
        assert all(repo.block(cid) == data for cid, data in nodes.items())


def test_a_real_commit_is_written_byte_for_byte(repos):
    with open_repo(repos / "greenground.repo.car") as repo:
        assert encode_commit(repo.commit) == repo.block(repo.root)


def test_a_partial_car_is_refused_and_never_read_as_a_smaller_repository(repos):
    with open_repo(repos / "repo_slice.car") as repo:
        for look in (lambda: list(repo.records()), lambda: list(repo.keys()), repo.orphan_count):
            with pytest.raises(RepoError, match="missing"):
                look()


def test_a_real_repository_cut_anywhere_is_refused(repos, tmp_path):
    whole = (repos / "greenground.repo.car").read_bytes()
    cut = tmp_path / "cut.car"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(IntegrityError), open_repo(cut) as repo:
            list(repo.records())

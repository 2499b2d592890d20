"""`eurosky car convert` as tests run it: in a folder with a repository that has legacy references, and some sizes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eurosky_pipeline.atproto.cid import CODEC_RAW, cid_of
from eurosky_pipeline.cli.main import main
from eurosky_pipeline_tests.builders import (
    make_block,
    make_legacy_blob_ref,
    make_post,
    make_posts,
    make_repo_car,
    make_strong_ref,
)
from eurosky_pipeline_tests.integration.command import Finished

POST = "app.bsky.feed.post"
BLOB, OTHER_BLOB = cid_of(b"a picture", CODEC_RAW), cid_of(b"another picture", CODEC_RAW)
PICTURE = make_post("picture", images=[make_legacy_blob_ref(), make_legacy_blob_ref(b"another picture")])
RECORDS = {
    **make_posts(20),
    f"{POST}/a": PICTURE,
    "app.bsky.feed.like/a": {"subject": make_strong_ref(f"{POST}/a", make_block(PICTURE)[0])},
}
LEGACY_CAR = make_repo_car(RECORDS, orphans=[{"old": 1}], duplicates=2)
MODERN_CAR = make_repo_car(make_posts(20), orphans=[{"old": 1}], duplicates=2)
SIZES = {str(BLOB): 760_898}
RESULT = {"records", "records_changed", "refs_converted", "refs_kept", "strong_refs_rewritten", "root", "signature"}
OLDER = b"what was in OUT before"
K256, P256 = "f8126" + "00" * 31 + "07", "f8626" + "00" * 31 + "07"

Command = Callable[..., Finished]


def lay_out(folder: Path) -> Path:
    """The folder, with `in.car` and `sizes.json` in it."""
    (folder / "in.car").write_bytes(LEGACY_CAR)
    (folder / "sizes.json").write_text(json.dumps(SIZES))
    return folder


@contextmanager
def running_in(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command in this process, in that folder; afterwards the signals are handled as before."""
    monkeypatch.chdir(folder)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: str) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["car", "convert", *arguments])
        said = capsys.readouterr()
        return Finished(int(caught.value.code or 0), said.out, said.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())

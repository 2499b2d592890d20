"""The endpoints as functions: pages to their end, and every value of a stranger checked at the door."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eurosky_pipeline.atproto.cid import CODEC_RAW, Cid, cid_of
from eurosky_pipeline.xrpc import endpoints, paging
from eurosky_pipeline.xrpc.client import UploadBody, XrpcClient
from eurosky_pipeline.xrpc.endpoints import (
    AccountStatus,
    LatestCommit,
    MissingBlob,
    ServerDescription,
    UploadedBlob,
    check_account_status,
    create_account,
    describe_server,
    get_blob,
    get_latest_commit,
    get_repo,
    get_service_auth,
    import_repo,
    list_blobs,
    list_missing_blobs,
    upload_blob,
)
from eurosky_pipeline.xrpc.errors import AnswerInvalid, HostUnreachable, RequestRefused

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
REV = "3jzfcijpj2z2a"
CIDS = [cid_of(bytes([number]), CODEC_RAW) for number in range(5)]
BAD_CIDS = [None, 7, "", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPX7S", str(CIDS[0]).upper(), f"{CIDS[0]}a"]
Handler = Callable[[httpx.Request], httpx.Response]


def answer(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=iter([json.dumps(body).encode()]))


def client_of(handler: Handler) -> XrpcClient:
    return XrpcClient(httpx.Client(transport=httpx.MockTransport(handler)), "https://pds.example")


def saying(body: object) -> XrpcClient:
    return client_of(lambda _: answer(body))


def pages_of(key: str, pages: dict[str | None, tuple[list[object], object]]) -> tuple[XrpcClient, list[str | None]]:
    """A client of a host with these pages, by the cursor that asks for them, and the list of cursors asked for."""
    asked: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.params["limit"] == "1000"
        asked.append(request.url.params.get("cursor"))
        items, cursor = pages[asked[-1]]
        return answer({key: items, **({} if cursor is None else {"cursor": cursor})})

    return client_of(handle), asked


def texts(*cids: Cid) -> list[object]:
    return [str(cid) for cid in cids]


def test_blobs_are_listed_to_the_empty_page() -> None:
    client, asked = pages_of(
        "cids",
        {None: (texts(*CIDS[:2]), "two"), "two": (texts(*CIDS[2:]), "five"), "five": ([], "five")},
    )
    assert list(list_blobs(client, DID)) == CIDS
    assert asked == [None, "two", "five"]


@pytest.mark.parametrize("last", [None, "", 7, ["x"]])
def test_a_list_ends_where_the_server_names_no_next_page(last: object) -> None:
    client, asked = pages_of("cids", {None: (texts(*CIDS[:2]), "two"), "two": (texts(CIDS[2]), last)})
    assert list(list_blobs(client, DID)) == CIDS[:3]
    assert asked == [None, "two"]


def test_an_account_without_blobs_has_an_empty_list() -> None:
    client, asked = pages_of("cids", {None: ([], "ignored")})
    assert list(list_blobs(client, DID)) == []
    assert asked == [None]


def test_a_cursor_that_comes_back_is_a_circle_and_not_followed_for_ever() -> None:
    client, asked = pages_of("cids", {None: (texts(CIDS[0]), "a"), "a": (texts(CIDS[1]), "b"), "b": (texts(), "a")})
    assert list(list_blobs(client, DID)) == CIDS[:2]  # the empty page ends it, whatever its cursor
    client, asked = pages_of(
        "cids", {None: (texts(CIDS[0]), "a"), "a": (texts(CIDS[1]), "b"), "b": (texts(CIDS[2]), "a")}
    )
    with pytest.raises(AnswerInvalid, match="gave the same cursor twice"):
        list(list_blobs(client, DID))
    assert asked == [None, "a", "b"]


def test_pages_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 20)  # ten thousand of them take four seconds

    def handle(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", 0))
        return answer({"cids": texts(cid_of(bytes([number]), CODEC_RAW)), "cursor": str(number + 1)})

    with pytest.raises(AnswerInvalid, match="more than 20 pages"):
        list(list_blobs(client_of(handle), DID))


@pytest.mark.parametrize("period", [1, 2, 7])
@pytest.mark.parametrize("nsid", ["listBlobs", "listMissingBlobs"])
def test_pages_that_come_again_are_a_circle_though_their_cursors_are_new(nsid: str, period: int) -> None:
    asked: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", 0))
        asked.append(number)
        cid = str(cid_of(bytes([number % period]), CODEC_RAW))
        rows = {"cids": [cid] * 1000, "blobs": [{"cid": cid, "recordUri": "at://x"}] * 1000}
        return answer({**rows, "cursor": str(number + 1)})

    client = client_of(handle)
    with pytest.raises(AnswerInvalid, match="gave the same page twice"):
        list(list_blobs(client, DID) if nsid == "listBlobs" else list_missing_blobs(client))
    assert len(asked) == period + 1


def test_two_cursors_that_take_turns_are_a_circle() -> None:
    turns = {None: ([{"cid": str(CIDS[0]), "recordUri": "at://x"}], "a")}
    turns |= {"a": ([{"cid": str(CIDS[1]), "recordUri": "at://x"}], "b")}
    turns |= {"b": ([{"cid": str(CIDS[2]), "recordUri": "at://x"}], "a")}
    client, asked = pages_of("blobs", turns)
    with pytest.raises(AnswerInvalid, match="in a circle"):
        list(list_missing_blobs(client))
    assert asked == [None, "a", "b"]


def test_a_list_that_takes_too_long_is_given_up_and_what_is_done_with_it_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paging, "MAX_LISTING_S", 0.15)

    def handle(request: httpx.Request, takes_s: float) -> httpx.Response:
        number = int(request.url.params.get("cursor", 0))
        time.sleep(takes_s)
        return answer(
            {"cids": texts(cid_of(bytes([number]), CODEC_RAW)) if number < 5 else [], "cursor": f"{number + 1}"}
        )

    for _ in list_blobs(client_of(lambda request: handle(request, 0)), DID):
        time.sleep(0.05)
    with pytest.raises(HostUnreachable, match="takes too long to answer"):
        list(list_blobs(client_of(lambda request: handle(request, 0.06)), DID))


def test_a_long_list_costs_little_memory_while_it_is_read() -> None:
    """Fifty thousand rows, of which nothing is kept but a hash a page."""

    def handle(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", 0))
        rows = texts(*(cid_of(f"{number} {row}".encode(), CODEC_RAW) for row in range(1000)))
        return answer({"cids": rows if number < 50 else [], "cursor": str(number + 1)})

    client = client_of(handle)
    tracemalloc.start()
    try:
        listed = sum(1 for _ in list_blobs(client, DID))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert listed == 50_000
    assert most_bytes < 4 * 2**20


def test_a_list_longer_than_any_account_has_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_LISTED", 2)
    client, _ = pages_of("cids", {None: (texts(CIDS[0]), "a"), "a": (texts(CIDS[1]), "b"), "b": (texts(CIDS[2]), "c")})
    with pytest.raises(AnswerInvalid, match="more than 2 rows"):
        list(list_blobs(client, DID))


@pytest.mark.parametrize("cursor", ["\ud800", "a\nb", "x" * 1025])
def test_a_cursor_that_cannot_be_sent_back_is_refused(cursor: str) -> None:
    client, asked = pages_of("cids", {None: (texts(CIDS[0]), cursor)})
    with pytest.raises(AnswerInvalid, match="cursor that cannot be sent back"):
        list(list_blobs(client, DID))
    assert asked == [None]


def test_a_servers_did_that_is_none_is_refused() -> None:
    with pytest.raises(AnswerInvalid, match="where a DID belongs"):
        describe_server(saying({"did": "\x1b]0;gotcha\x07"}))


@pytest.mark.parametrize("bad", BAD_CIDS)
def test_a_cid_that_is_none_is_refused_wherever_it_stands(bad: object, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    body = UploadBody(tmp_path / "blob", 1, "image/png")
    calls: list[Callable[[], object]] = [
        lambda: list(list_blobs(saying({"cids": [bad]}), DID)),
        lambda: list(list_missing_blobs(saying({"blobs": [{"cid": bad, "recordUri": "at://x"}]}))),
        lambda: get_latest_commit(saying({"cid": bad, "rev": REV}), DID),
        lambda: upload_blob(saying({"blob": {"ref": {"$link": bad}, "mimeType": "image/png", "size": 1}}), body),
    ]
    if bad:
        calls.append(lambda: check_account_status(saying({"repoCommit": bad})))
    for call in calls:
        with pytest.raises(AnswerInvalid, match=r"pds\.example sent something else where a CID belongs"):
            call()


@pytest.mark.parametrize("body", [{}, {"cids": None}, {"cids": {"0": "x"}}, {"blobs": []}])
def test_a_page_without_its_list_is_no_empty_page(body: object) -> None:
    with pytest.raises(AnswerInvalid, match="without a list of cids"):
        list(list_blobs(saying(body), DID))


def test_missing_blobs_are_paged_and_name_their_record() -> None:
    rows = [{"cid": str(cid), "recordUri": f"at://{DID}/app.bsky.feed.post/{i}"} for i, cid in enumerate(CIDS)]
    client, asked = pages_of("blobs", {None: (rows[:3], "c3"), "c3": (rows[3:], "c5"), "c5": ([], None)})
    assert list(list_missing_blobs(client)) == [MissingBlob(c, r["recordUri"]) for c, r in zip(CIDS, rows, strict=True)]
    assert asked == [None, "c3", "c5"]


@pytest.mark.parametrize("row", ["x", None, {"cid": str(CIDS[0])}, {"cid": str(CIDS[0]), "recordUri": 7}])
def test_a_missing_blob_without_its_record_is_refused(row: object) -> None:
    with pytest.raises(AnswerInvalid):
        list(list_missing_blobs(saying({"blobs": [row]})))


def test_a_blob_is_sent_with_its_own_mime_type_and_the_answer_is_read(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"\x00")

    def handle(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.headers["content-type"], request.content) == ("POST", "image/webp", b"\x00")
        ref = {"$link": str(CIDS[0])}
        return answer({"blob": {"$type": "blob", "ref": ref, "mimeType": "image/webp", "size": 1}})

    assert upload_blob(client_of(handle), UploadBody(path, 1, "image/webp")) == UploadedBlob(CIDS[0], "image/webp", 1)


@pytest.mark.parametrize("body", [{}, {"blob": None}, {"blob": "x"}, {"blob": {}}, {"blob": {"ref": str(CIDS[0])}}])
def test_an_upload_that_does_not_say_what_was_stored_is_not_taken_for_one(tmp_path: Path, body: object) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    with pytest.raises(AnswerInvalid, match="accepted a blob without saying which"):
        upload_blob(saying(body), UploadBody(tmp_path / "blob", 1, "image/png"))


@pytest.mark.parametrize("size", [None, "1", 1.0])
def test_an_upload_without_a_size_equals_no_size(tmp_path: Path, size: object) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    said = saying({"blob": {"ref": {"$link": str(CIDS[0])}, "size": size}})
    assert upload_blob(said, UploadBody(tmp_path / "blob", 1, "image/png")) == UploadedBlob(CIDS[0], "", -1)


def test_an_account_status_is_read_whole() -> None:
    status = {
        "activated": False,
        "repoCommit": str(CIDS[0]),
        "repoRev": "3lb",
        "indexedRecords": 300,
        "expectedBlobs": 60,
        "importedBlobs": 59,
    }
    assert check_account_status(saying(status)) == AccountStatus(False, CIDS[0], 300, 60, 59)


def test_an_account_that_does_not_say_it_is_deactivated_is_taken_for_active() -> None:
    for body in ({}, {"activated": None}, {"activated": "false"}, {"activated": 0}):
        status = check_account_status(saying({**body, "expectedBlobs": -1, "importedBlobs": "7"}))
        assert status == AccountStatus(True, None, 0, 0, 0)


def test_a_server_describes_itself() -> None:
    said = {"did": "did:web:pds.example", "availableUserDomains": [".a", 7], "inviteCodeRequired": True}
    assert describe_server(saying(said)) == ServerDescription("did:web:pds.example", None)
    said = {"did": "did:web:pds.example", "blobUploadLimit": 5_242_880}
    assert describe_server(saying(said)) == ServerDescription("did:web:pds.example", 5_242_880)


def test_an_upload_limit_beyond_any_disk_limits_nothing_and_breaks_nothing() -> None:
    said = {"did": "did:web:x", "blobUploadLimit": 10**300}
    assert describe_server(saying(said)).blob_upload_limit_bytes == 10**300


@pytest.mark.parametrize("limit", [0, -1, "5", None, 5.5, True, [5], {"bytes": 5}, float("inf")])
def test_an_upload_limit_that_is_no_number_of_bytes_is_none(limit: object) -> None:
    assert describe_server(saying({"did": "did:web:x", "blobUploadLimit": limit})).blob_upload_limit_bytes is None


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (describe_server, "did"),
        (lambda client: get_latest_commit(client, DID), "rev"),
        (lambda client: get_service_auth(client, audience="did:web:x", lxm="a.b.c"), "token"),
        (lambda client: create_account(client, handle="a.test", email="a@b.c", password=SecretStr("x")), "did"),
    ],
)
def test_an_answer_that_leaves_a_required_text_out_is_refused(call: Callable[[XrpcClient], object], key: str) -> None:
    with pytest.raises(AnswerInvalid, match=rf"pds\.example left {key} out of its answer"):
        call(saying({"cid": str(CIDS[0]), key: 7}))


def test_the_head_of_a_repo_is_its_commit_and_rev() -> None:
    assert get_latest_commit(saying({"cid": str(CIDS[0]), "rev": REV}), DID) == LatestCommit(CIDS[0], REV)


@pytest.mark.parametrize("rev", ["s3cret", "3lb", "x" * 10_000])
def test_a_rev_that_is_none_is_refused_and_not_repeated(rev: str) -> None:
    with pytest.raises(AnswerInvalid) as caught:
        get_latest_commit(saying({"cid": str(CIDS[0]), "rev": rev}), DID)
    assert rev not in str(caught.value)


def test_repo_and_blob_are_asked_for_by_did_and_cid() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.path.rpartition('.')[2]} {dict(request.url.params)}")
        return httpx.Response(200, content=iter([b"ab", b"c"]))

    client = client_of(handle)
    for opened in (get_repo(client, DID), get_blob(client, DID, CIDS[0])):
        with opened as download:
            assert b"".join(download.chunks) == b"abc"
    assert asked == [f"getRepo {{'did': '{DID}'}}", f"getBlob {{'did': '{DID}', 'cid': '{CIDS[0]}'}}"]


def test_an_import_sends_the_car_as_a_car(tmp_path: Path) -> None:
    (tmp_path / "account.car").write_bytes(b"car")

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/vnd.ipld.car"
        assert request.extensions["timeout"]["read"] == 1800
        return httpx.Response(200, content=iter([b""]))

    import_repo(client_of(handle), UploadBody(tmp_path / "account.car", 3, endpoints.CAR_MIME_TYPE))


def test_a_new_accounts_password_is_not_repeated_when_the_host_repeats_it() -> None:
    client = client_of(lambda request: answer({"message": request.content.decode()}, 400))
    with pytest.raises(RequestRefused) as caught:
        create_account(client, handle="a.test", email="a@b.c", password=SecretStr("hunter2"), did=DID)
    assert DID in caught.value.message
    assert "hunter2" not in caught.value.message

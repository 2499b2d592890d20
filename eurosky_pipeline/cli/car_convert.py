"""`eurosky car convert`: legacy blob references to the current form, offline, in any repository's CAR."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eurosky_pipeline.cli.files import EXISTING_FILE, reading
from eurosky_pipeline.cli.output import json_option, print_json, print_pairs, tell

if TYPE_CHECKING:
    from eurosky_pipeline.atproto.cid import Cid
    from eurosky_pipeline.atproto.keys import SigningKey
    from eurosky_pipeline.convert.convert_car import Conversion

_NOT_SIGNED = (
    "The commit is signed by nobody. The reference PDS imports it all the same, into an account that is not active, "
    "and signs at the account's next write; a server that checks signatures needs --signing-key-env."
)


@click.command()
@click.argument("source", metavar="IN", type=EXISTING_FILE)
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--blob-sizes",
    "sizes_file",
    metavar="FILE.json",
    type=EXISTING_FILE,
    help='Sizes of blobs in bytes, as {"bafkrei…": 760898}. Sizes that other references in IN tell need not be there.',
)
@click.option(
    "--unknown-size",
    type=click.Choice(["keep", "sentinel", "fail"]),
    default="keep",
    show_default=True,
    help="What becomes of a reference whose blob's size is not known: it stays as it is and is counted; it gets a size "
    "of -1, which the specification forbids and some servers take; or nothing is converted at all.",
)
@click.option(
    "--signing-key-env",
    "key_variable",
    metavar="VAR",
    help="Environment variable with the private key that signs the new commit, as multibase (k256 or p256).",
)
@json_option
def convert(
    source: Path, target: Path, *, sizes_file: Path | None, unknown_size: str, key_variable: str | None, is_json: bool
) -> None:
    """Write the repository in IN to OUT, with legacy blob references ({cid, mimeType}, from before 2023) in the form
    that the protocol has now.

    Strong references to converted records follow, and so do the tree and the commit; blocks that the tree does not
    lead to are left out. With nothing to convert, OUT is IN, byte for byte. That everything is there is checked, and
    what has to change; whether all the rest is canonical, `eurosky car verify` tells. OUT is replaced at the very end,
    or not at all, and may be IN.

    Where sizes are missing, --json names the blobs as sizes_missing; an account's server tells a blob's size as the
    Content-Length of com.atproto.sync.getBlob. To move an account, `eurosky migrate --convert-legacy-blobs` asks by
    itself; what this command writes is for com.atproto.repo.importRepo.

    \b
    Exit code: 0 done · 1 IN is damaged, or a size is not known and --unknown-size is fail · 2 bad arguments
    """
    from eurosky_pipeline.convert.convert_car import convert_car
    from eurosky_pipeline.convert.output import copy_file
    from eurosky_pipeline.plugins.manager import load_transforms
    from eurosky_pipeline.plugins.record_transforms import UnknownSize

    if target.exists() and not target.is_file():
        raise click.BadParameter(f"{click.format_filename(target)} is there, and is no file", param_hint="OUT")
    if not target.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {click.format_filename(target.parent)}", param_hint="OUT")
    sizes = _read_sizes(sizes_file) if sizes_file else {}
    key = _signing_key(key_variable) if key_variable else None
    missing: list[Cid] = []

    def known_sizes(cids: Collection[Cid]) -> Mapping[Cid, int]:
        missing.extend(cid for cid in cids if cid not in sizes)
        return {cid: sizes[cid] for cid in cids if cid in sizes}

    with reading(source) as on_read:
        found = convert_car(
            source,
            target,
            load_transforms(("legacy_blobs",)),
            unknown_size=UnknownSize(unknown_size),
            blob_sizes=known_sizes,
            signing_key=key,
            on_read=on_read,
        )
    if not found.is_changed:
        copy_file(source, target)
    _print(target, found, [str(cid) for cid in missing], unknown_size, is_json=is_json)


def _read_sizes(file: Path) -> Mapping[Cid, int]:
    from eurosky_pipeline.atproto.blob_refs import MAX_SIZE_BYTES
    from eurosky_pipeline.atproto.cid import parse_cid
    from eurosky_pipeline.errors import IntegrityError

    try:
        given = json.loads(file.read_bytes())
        if not isinstance(given, dict):
            raise _no_sizes(file, "a JSON object")
        sizes = {parse_cid(text): size for text, size in given.items()}
    except (ValueError, RecursionError):
        raise _no_sizes(file, "JSON") from None
    except IntegrityError as error:
        raise _no_sizes(file, f"{{cid: bytes}}: {error.message}") from None
    for cid, size in sizes.items():
        if type(size) is not int or not 0 < size <= MAX_SIZE_BYTES:
            raise _no_sizes(file, f"{{cid: bytes}}: the size of {cid} is {json.dumps(size)[:40]}")
    return sizes


def _no_sizes(file: Path, wanted: str) -> click.BadParameter:
    return click.BadParameter(f"{click.format_filename(file)} is not {wanted}", param_hint="--blob-sizes")


def _signing_key(variable: str) -> SigningKey:
    from eurosky_pipeline.atproto.keys import SigningKeyError, parse_signing_key

    text = os.environ.get(variable, "").strip()
    if not text:
        # its name is not repeated: somebody may have given the key itself
        raise click.BadParameter("there is no environment variable of that name", param_hint="--signing-key-env")
    try:
        return parse_signing_key(text)
    except SigningKeyError as error:
        raise click.BadParameter(error.with_hint(), param_hint="--signing-key-env") from None


def _print(target: Path, found: Conversion, missing: Sequence[str], unknown_size: str, *, is_json: bool) -> None:
    result: dict[str, object] = {
        "records": found.records,
        "records_changed": found.records_changed,
        "refs_converted": found.count("refs_converted"),
        "refs_kept": found.count("refs_kept"),
        "strong_refs_rewritten": found.strong_refs_rewritten,
        "root": str(found.root),
        "signature": str(found.signature),
        "rev": found.rev,
        "nodes_rewritten": found.nodes_rewritten,
        "blocks_dropped": found.blocks_dropped,
        "sizes_missing": missing,
        "transforms": {name: {"version": version, **counts} for name, version, counts in found.transforms},
    }
    if is_json:
        print_json(result)
        return
    transforms = ", ".join(f"{name}, version {version}" for name, version, _ in found.transforms)
    shown = result | {"transforms": transforms, "sizes_missing": len(missing)}
    print_pairs(click.format_filename(target), shown.items())
    if missing:
        became = "have a size of -1, which the specification forbids" if unknown_size == "sentinel" else "are kept"
        tell(f"The sizes of {len(missing)} blobs are not known, and legacy references to them {became}.")
        tell(
            "  → --json names them (sizes_missing). Their sizes are the Content-Length of com.atproto.sync.getBlob "
            "at the account's server: give them with --blob-sizes"
        )
    if not found.is_changed:
        tell("Nothing was converted: OUT is IN, byte for byte.")
    elif found.signature == "void":
        tell(_NOT_SIGNED)

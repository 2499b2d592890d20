"""The identifiers' rules once more, character by character from their specifications, without a regular expression."""

import string

_LETTERS = set(string.ascii_letters)
_DIGITS = set(string.digits)
_LABEL = _LETTERS | _DIGITS | {"-"}
_SORTABLE = "234567abcdefghijklmnopqrstuvwxyz"


def is_did(text: str) -> bool:
    parts = text.split(":", 2)
    return (
        len(text) <= 2048
        and len(parts) == 3
        and parts[0] == "did"
        and bool(parts[1])
        and set(parts[1]) <= set(string.ascii_lowercase)
        and bool(parts[2])
        and set(parts[2]) <= _LETTERS | _DIGITS | set("._:%-")
        and parts[2][-1] not in ":%"
    )


def is_account_did(text: str) -> bool:
    method, _, name = text.removeprefix("did:").partition(":")
    return is_did(text) and (method != "plc" or (len(name) == 24 and set(name) <= set(_SORTABLE)))


def _is_label(text: str) -> bool:
    return 1 <= len(text) <= 63 and set(text) <= _LABEL and text[0] != "-" != text[-1]


def is_handle(text: str) -> bool:
    labels = text.split(".")
    return len(text) <= 253 and len(labels) >= 2 and all(map(_is_label, labels)) and labels[-1][0] in _LETTERS


def is_nsid(text: str) -> bool:
    *domain, name = text.split(".")
    return (
        len(text) <= 317
        and len(domain) >= 2
        and all(map(_is_label, domain))
        and domain[0][0] in _LETTERS
        and 1 <= len(name) <= 63
        and set(name) <= _LETTERS | _DIGITS
        and name[0] in _LETTERS
    )


def is_record_key(text: str) -> bool:
    return 1 <= len(text) <= 512 and set(text) <= _LETTERS | _DIGITS | set("._:~-") and text not in (".", "..")


def is_tid(text: str) -> bool:
    return len(text) == 13 and set(text) <= set(_SORTABLE) and _SORTABLE.index(text[0]) < 16


def is_at_identifier(text: str) -> bool:
    return is_did(text) or is_handle(text)


def is_repo_path(text: str) -> bool:
    parts = text.split("/")
    return len(parts) == 2 and is_nsid(parts[0]) and is_record_key(parts[1])


def is_at_uri(text: str) -> bool:
    parts = text.split("/")
    if len(text) > 8192 or parts[:2] != ["at:", ""]:
        return False
    rules = [is_at_identifier, is_nsid, is_record_key]
    named = parts[2:]
    return 1 <= len(named) <= 3 and all(rule(part) for rule, part in zip(rules, named, strict=False))

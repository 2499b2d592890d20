"""Two listings merged are two maps compared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eurosky_pipeline.atproto.cid import Cid, cid_of
from eurosky_pipeline.atproto.key_pairs import pair_keys

CIDS = [cid_of(bytes([n])) for n in range(3)]
LISTINGS = st.dictionaries(st.sampled_from([f"c/{n:02}" for n in range(12)]), st.sampled_from(CIDS))


@given(LISTINGS, LISTINGS)
def test_each_key_of_either_comes_once_in_order_with_what_both_have(
    left: dict[str, Cid], right: dict[str, Cid]
) -> None:
    pairs = list(pair_keys(iter(sorted(left.items())), iter(sorted(right.items()))))
    assert [pair.key for pair in pairs] == sorted(left.keys() | right.keys())
    for pair in pairs:
        assert (pair.left, pair.right) == (left.get(pair.key), right.get(pair.key))
        assert pair.is_equal is (left.get(pair.key) == right.get(pair.key))

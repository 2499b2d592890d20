"""Tables and texts as the UI gets them."""

from __future__ import annotations

from dagster import MetadataValue

from eurosky_pipeline.orchestration.metadata import banner, largest, plain, rates, table, warned, without_cid
from eurosky_pipeline_tests.pipeline import told


def test_a_table_keeps_numbers_as_numbers_and_makes_text_of_all_else() -> None:
    made = table("outcomes", ["outcome", "blobs", "share"], [("failed", 2, 0.5), (None, 3, 1)])
    assert told(made) == {
        "outcomes": [
            {"outcome": "failed", "blobs": 2, "share": 0.5},
            {"outcome": "None", "blobs": 3, "share": 1},
        ]
    }
    assert [column.type for column in made["outcomes"].schema.columns] == ["string", "int", "float"]


def test_a_table_without_rows_is_none_at_all() -> None:
    assert table("failed_blobs", ["blob"], []) == {}


def test_of_thousands_of_kinds_the_largest_twenty_are_shown() -> None:
    counts = {f"com.example.c{number:04}": number % 50 for number in range(5_000)}
    shown = largest(counts)
    assert len(shown) == 20
    assert shown[0] == ("com.example.c0049", 49)
    assert {count for _, count in shown} == {49}


def test_what_strangers_say_is_no_markup() -> None:
    hostile = "![x](http://a) <img src=x>\r\n# www.b.example `c` \u202e\ud800 *d*"
    assert plain(hostile) == "`![x](http://a) <img src=x>  # www.b.example 'c'    *d*`"
    assert warned([hostile]) == [f"⚠ {plain(hostile)}"]
    assert len(plain("a" * 10_000)) < 600


def test_a_cell_of_a_table_is_one_line_of_a_bounded_length() -> None:
    ((row,),) = told(table("t", ["reason"], [("a\ud800\n" + "b" * 10_000,)])).values()
    assert row["reason"].startswith("a  bbb")
    assert len(row["reason"]) <= 500


def test_a_banner_is_the_paragraphs_that_have_something_to_say() -> None:
    assert banner("one", "", "two") == MetadataValue.md("one\n\ntwo")


def test_a_reason_beside_its_cid_does_not_repeat_it() -> None:
    assert without_cid("sent 3 bytes for blob bafkrei that do not hash to it", "bafkrei") == (
        "sent 3 bytes for blob … that do not hash to it"
    )


def test_rates_are_none_where_no_time_has_passed() -> None:
    assert rates(3, 4_000, 0) == {}
    assert rates(3, 4_000, 2) == {"blobs_per_s": 1.5, "bytes_per_s": 2000.0}

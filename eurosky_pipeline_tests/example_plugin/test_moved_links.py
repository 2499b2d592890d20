"""The plugin's own test, as its author would write it."""

from typing import Any

from eurosky_moved_links import LINK, MovedLinks

from eurosky_pipeline.plugins.conformance import check_record_transform


def post(*links: str) -> dict[str, Any]:
    place = {"byteStart": 0, "byteEnd": 5}
    facets = [{"index": place, "features": [{"$type": LINK, "uri": link}]} for link in links]
    return {"$type": "app.bsky.feed.post", "text": "hello", "createdAt": "2024-01-01T00:00:00Z", "facets": facets}


def test_it_keeps_the_promises_of_a_record_transform() -> None:
    check_record_transform(
        MovedLinks,
        [
            post("https://blog.example.net/2023/a", "https://elsewhere.example/"),
            post("https://elsewhere.example/?from=https://blog.example.net/"),
            post(),
            {"$type": "app.bsky.feed.post", "text": "https://blog.example.net/", "facets": "none"},
            {"facets": [None, {"features": 5}, {"features": [None, {"$type": LINK}, {"$type": LINK, "uri": 5}]}]},
        ],
    )


def test_a_link_to_the_old_address_leads_to_the_new_one() -> None:
    transform = MovedLinks()
    moved = transform.transform("at://did:plc:x/app.bsky.feed.post/1", post("https://blog.example.net/2023/a"))
    assert moved == post("https://www.example.org/blog/2023/a")
    assert transform.counts() == {"links_moved": 1}

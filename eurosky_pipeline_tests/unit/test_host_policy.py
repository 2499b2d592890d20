"""Which hosts may be spoken to. Addresses are literals and `localhost`: no test asks a name server for a real name."""

import socket
from collections.abc import Callable

import pytest

from eurosky_pipeline.errors import SettingsError
from eurosky_pipeline.xrpc.errors import HostUnreachable
from eurosky_pipeline.xrpc.host_policy import HostPolicy

STRICT = HostPolicy()
OPEN = HostPolicy(is_private_allowed=True)

PUBLIC_LITERALS = ["https://93.184.216.34", "https://[2606:2800:220:1:248:1893:25c8:1946]"]

PRIVATE_LITERALS = {
    "loopback": "https://127.0.0.1",
    "loopback v6": "https://[::1]",
    "this host": "https://0.0.0.0",
    "this host v6": "https://[::]",
    "private class A": "https://10.1.2.3",
    "private class B": "https://172.16.0.1:8443",
    "private class C": "https://192.168.1.1",
    "carrier-grade NAT": "https://100.64.0.1",
    "link-local": "https://169.254.1.1",
    "cloud metadata": "https://169.254.169.254",
    "cloud metadata v6": "https://[fd00:ec2::254]",
    "unique local v6": "https://[fc00::1]",
    "link-local v6": "https://[fe80::1]",
    "link-local v6 with its zone": "https://[fe80::1%25eth0]",
    "site-local v6": "https://[fec0::1]",
    "multicast": "https://224.0.0.1",
    "multicast v6": "https://[ff02::1]",
    "broadcast": "https://255.255.255.255",
    "reserved": "https://240.0.0.1",
    "documentation": "https://192.0.2.1",
    "IPv4-mapped loopback": "https://[::ffff:127.0.0.1]",
    "IPv4-mapped private": "https://[::ffff:10.0.0.1]",
    "IPv4-compatible loopback": "https://[::127.0.0.1]",
    "NAT64 of the metadata address": "https://[64:ff9b::169.254.169.254]",
    "local-use NAT64": "https://[64:ff9b:1::1]",
    "6to4 of loopback": "https://[2002:7f00:1::]",
    "loopback with a final dot": "https://127.0.0.1.",
    "Teredo": "https://[2001:0:7f00:1::]",
    "6to4 of a public address": "https://[2002:5db8:d822::]",
    "a cloud's host, in the public space": "https://168.63.129.16",
    "a cloud's metadata, in carrier-grade NAT": "https://100.100.100.200",
    "IPv4-mapped in hex": "https://[::ffff:7f00:1]",
    "IPv4-mapped in full": "https://[0:0:0:0:0:ffff:127.0.0.1]",
    "public with a zone": "https://[2606:2800:220:1:248:1893:25c8:1946%25eth0]",
}

NUMBERS_THAT_SOME_READ_AS_ADDRESSES = [
    *("2130706433", "017700000001", "0x7f000001", "0X7F000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "0", "0x"),
    *("127.0.0.01", "127.0.0.0x1", "127.0.0.1.1", "127.0.0.256", "1572395042", "93.184.55330", "93.184.216.034"),
    *("pds.example.1", "pds.example.0x7f", "[127.0.0.1]", "[::ffff:0177.0.0.1]", "[::1"),
]


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("https://pds.example.com", "https://pds.example.com"),
        ("https://pds.example.com/", "https://pds.example.com"),
        ("  https://PDS.Example.COM  ", "https://pds.example.com"),
        ("https://pds.example.com.", "https://pds.example.com"),
        ("https://pds.example.com:443", "https://pds.example.com"),
        ("https://pds.example.com:8443", "https://pds.example.com:8443"),
        ("https://xn--fa-hia.example", "https://xn--fa-hia.example"),
        ("https://[2606:2800:220:1:248:1893:25C8:1946]:8443", "https://[2606:2800:220:1:248:1893:25c8:1946]:8443"),
    ],
)
def test_a_public_host_has_one_spelling(url: str, base_url: str) -> None:
    assert STRICT.normalize(url) == base_url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://pds.example.com", "is plain http"),
        ("ftp://pds.example.com", "is not an http"),
        ("pds.example.com", "is not an http"),
        ("https://", "is not an http"),
        ("", "is not an http"),
        ("https://pds.example.com:no", "is not a URL"),
        ("https://pds.example.com:65536", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://pds.example.com\x00.evil.example", "is not a URL"),
        ("https://pds.exa\nmple.com", "is not a URL"),  # urlsplit would make pds.example.com of these two
        ("https://pds.exa\tmple.com", "is not a URL"),
        ("https://\u200bpds.example.com", "is not a URL"),
        ("https://pds.example.com:+443", "is not a URL"),
        ("https://pds.example.com:٤٤٣", "is not a URL"),
        ("javascript:alert(1)", "is not an http"),
        ("file:///etc/passwd", "is not an http"),
        ("//pds.example.com", "is not an http"),
        ("https:pds.example.com", "is not an http"),
        ("https:///pds.example.com", "is not an http"),
        ("https://.", "is not an http"),
        ("https://pds.example.com/xrpc", "has a path or a query"),
        ("https://pds.example.com?x=1", "has a path or a query"),
        ("https://pds.example.com#x", "has a path or a query"),
        ("https://pds.exam ple.com", "no host's"),
        ("https://..", "no host's"),
        ("https://pds.example.com..", "no host's"),
        ("https://.example.com", "no host's"),
        ("https://a..example", "no host's"),
        ("https://" + "a" * 64 + ".example", "no host's"),
        ("https://" + "a." * 130 + "example", "no host's"),
        ("https://-a.example", "no host's"),
        ("https://evil.example\\.pds.example", "no host's"),
        ("https://xn--", "no host's"),
        ("https://xn--a.example", "no host's"),  # an A-label that nothing can be decoded from
        ("https://pds%2eexample.com", "no host's"),
        ("https://faß.example", "no host's"),  # two versions of IDNA read it as two different hosts
        ("https://１２７.0.0.1", "no host's"),
        ("https://①②⑦.0.0.1", "no host's"),
        ("https://127。0。0。1", "no host's"),
        ("https://\u212aexample.com", "no host's"),  # the sign of Kelvin, whose lower case is an ASCII k
        ("https://pds\u00ad.example.com", "is not a URL"),
        ("https://pdſ.example.com", "no host's"),
    ],
)
def test_what_is_not_the_bare_url_of_a_public_host_is_refused(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        STRICT.normalize(url)
    assert caught.value.code == "host_refused"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cret@pds.example.com",
        "https://s3cret@pds.example.com",
        "https://me:s3cret@pds.example.com:notaport",
        "https://me:s3cret/s3cret@pds.example.com",
        "https://me:s3cret?s3cret@pds.example.com",
        "https://me:s3cret#s3cret@pds.example.com",
        "https://me:s3cret@s3cret@pds.example.com",
        "https://me:s3cret@ex℀mple.com",
        "https://me:s3cret@10.0.0.1",
        "https://me:s3cret@",
        "http://me:s3cret@pds.example.com",
        "ftp://me:s3cret@pds.example.com",
    ],
)
@pytest.mark.parametrize("policy", [STRICT, OPEN])
def test_credentials_in_a_url_are_refused_and_not_repeated(policy: HostPolicy, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        policy.normalize(url)
    assert "s3cret" not in caught.value.with_hint()
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize("url", PUBLIC_LITERALS)
def test_a_public_address_is_reachable(url: str) -> None:
    assert STRICT.check_reachable(url) == url


@pytest.mark.parametrize("url", PRIVATE_LITERALS.values(), ids=PRIVATE_LITERALS)
def test_a_private_address_is_refused_without_asking_the_network(url: str) -> None:
    with pytest.raises(SettingsError, match="is not a public address"):
        STRICT.normalize(url)


@pytest.mark.parametrize("policy", [STRICT, OPEN])
@pytest.mark.parametrize("host", NUMBERS_THAT_SOME_READ_AS_ADDRESSES)
def test_a_number_in_another_form_than_the_usual_one_is_neither_a_name_nor_an_address(
    policy: HostPolicy, host: str
) -> None:
    with pytest.raises(SettingsError, match=r"no host's|is not a URL"):
        policy.normalize(f"https://{host}")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST."])
def test_a_name_that_resolves_inside_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match=r"resolves to (127\.0\.0\.1|::1), which is not a public address"):
        STRICT.check_reachable(f"https://{host}")


def answers(*addresses: str) -> Callable[..., object]:
    """What `getaddrinfo` is for the test: these addresses for every name."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, 443, 0, 0))
        if ":" in text
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 443))
        for text in addresses
    ]
    return lambda *_, **__: found


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "10.0.0.1"],
        ["10.0.0.1", "93.184.216.34"],
        ["93.184.216.34", "::1"],
        ["2606:2800:220:1:248:1893:25c8:1946", "::ffff:169.254.169.254"],
        ["fe80::1%eth0"],
        [*(f"93.184.216.{n}" for n in range(1, 200)), "192.168.0.1"],
    ],
)
def test_one_address_inside_is_enough_to_refuse_a_name(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers(*addresses))
    with pytest.raises(SettingsError, match=r"'pds\.example' resolves to .*, which is not a public address") as caught:
        STRICT.endpoints("pds.example", 443)
    assert caught.value.code == "host_refused"
    assert [endpoint.ip for endpoint in OPEN.endpoints("pds.example", 443)]


@pytest.mark.parametrize(
    "port", [*(1, 21, 22, 25, 53, 80, 389, 442, 444, 636, 1023), *(1433, 3306, 5432, 6379, 6667, 9200, 11211, 27017)]
)
def test_a_port_where_no_pds_is_is_refused(port: int) -> None:
    with pytest.raises(SettingsError, match=f"has port {port}, where no PDS is") as caught:
        STRICT.normalize(f"https://pds.example.com:{port}")
    assert caught.value.code == "host_refused"
    OPEN.normalize(f"https://pds.example.com:{port}")


@pytest.mark.parametrize("port", [1024, 2583, 3000, 8080, 8443, 65535])
def test_a_free_port_is_allowed(port: int) -> None:
    assert STRICT.normalize(f"https://pds.example.com:{port}") == f"https://pds.example.com:{port}"


@pytest.mark.parametrize("policy", [STRICT, OPEN, HostPolicy(allowed_addresses=frozenset({("localhost", 0)}))])
def test_nobody_serves_at_port_0(policy: HostPolicy) -> None:
    with pytest.raises(SettingsError, match="has port 0"):
        policy.normalize("https://localhost:0")


@pytest.mark.parametrize("policy", [STRICT, OPEN])
def test_a_name_that_does_not_resolve_is_told_as_that(policy: HostPolicy) -> None:
    with pytest.raises(HostUnreachable, match=r"the host name nowhere\.invalid does not resolve") as caught:
        policy.check_reachable("https://nowhere.invalid")
    assert caught.value.code == "host_unresolvable"


@pytest.mark.parametrize("url", ["http://127.0.0.1:2583", "https://10.1.2.3", "http://localhost:80", "http://[::1]:99"])
def test_an_operator_may_allow_private_hosts_and_plain_http(url: str) -> None:
    assert OPEN.check_reachable(url) == url.removesuffix(":80")


def test_the_sandboxes_own_addresses_are_allowed_and_nothing_beside_them() -> None:
    policy = HostPolicy(allowed_addresses=frozenset({("localhost", 2583)}))
    assert policy.check_reachable("http://localhost:2583") == "http://localhost:2583"
    for url in ("http://localhost:2584", "http://localhost", "http://127.0.0.1:2583", "https://127.0.0.1:2583"):
        with pytest.raises(SettingsError):
            policy.check_reachable(url)


def test_an_allowed_address_does_not_open_a_path_on_it() -> None:
    policy = HostPolicy(allowed_addresses=frozenset({("localhost", 2583)}))
    with pytest.raises(SettingsError, match="has a path"):
        policy.normalize("http://localhost:2583/admin")


def test_another_program_on_the_same_port_of_another_loopback_address_is_not_the_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = HostPolicy(allowed_addresses=frozenset({("localhost", 2583)}))
    monkeypatch.setattr(socket, "getaddrinfo", answers("::1", "127.0.0.1", "127.0.0.2"))
    assert [endpoint.ip for endpoint in policy.endpoints("localhost", 2583)] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", answers("::1"))
    with pytest.raises(SettingsError, match=r"does not resolve to 127\.0\.0\.1"):
        policy.endpoints("localhost", 2583)


def test_an_allowed_name_is_allowed_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = HostPolicy(allowed_addresses=frozenset({("localhost", 2583)}))
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1", "192.168.0.9"))
    with pytest.raises(SettingsError, match=r"resolves to 192\.168\.0\.9, which is not this machine"):
        policy.check_reachable("http://localhost:2583")


def test_what_stands_behind_a_question_mark_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        HostPolicy().normalize("https://old.example.com/?password=canary")
    assert "canary" not in caught.value.with_hint()
    assert "old.example.com" in caught.value.message

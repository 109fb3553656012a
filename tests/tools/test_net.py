"""The guard: what may be reached, by whatever name; and what a fetch may take."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentic.net import FetchLimits, Guard, Page, fetch, guarded_client, is_public
from agentic.types.errors import ConfigError, InvalidInput, ToolError
from servers.base import CutAfter, HangUp, StallAfter, Status
from servers.pages import Found, PageServer, redirect, zipped

HERE = Guard(allow=("127.0.0.1/32",))
TLS = Path(__file__).parent.parent / "data" / "tls"


def get(url: str, limits: FetchLimits | None = None, guard: Guard | None = HERE) -> Page:
    return asyncio.run(fetch(url, limits, guard))


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer({"/": Found(b"hello", "text/plain; charset=utf-8")}) as server:
        yield server


class Names:
    """A name server under our control: the answers of each name in turn, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[list[str]]) -> None:
        self.asked: list[str] = []
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.answers:
            if name.replace(".", "").isdigit() or ":" in name:
                return self.real(host, port, *args, **options)
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        self.asked.append(name)
        found = self.answers[name]
        addresses = found.pop(0) if len(found) > 1 else found[0]
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1"),
    *("fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1", "2001:db8::1", "2001::1", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "3fff::1", "5f00::1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.254"),
    *("2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not Guard().permits(address, 80)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are_public(address: str) -> None:
    import ipaddress

    assert is_public(ipaddress.ip_address(address))
    assert Guard().permits(address, 80)
    assert Guard().permits(address, 443)
    assert not Guard().permits(address, 22)


def test_only_what_is_allowed_on_purpose_is_reached_beside_the_public_web() -> None:
    assert HERE.permits("127.0.0.1", 8123)
    assert not HERE.permits("127.0.0.2", 8123)
    assert not HERE.permits("::1", 80)
    assert not HERE.permits("::ffff:127.0.0.1", 80)


@pytest.mark.parametrize("network", ["localhost", "127.0.0.1/99", "127.0.0.1/8", ""])
def test_what_is_no_network_cannot_be_allowed(network: str) -> None:
    with pytest.raises(ConfigError, match="A guard allows networks"):
        Guard(allow=(network,))


REFUSED = [
    *("file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "data:text/plain,x", "javascript:alert(1)"),
    *("/etc/passwd", "example.org", "//example.org/", "", "http://", "http:///x", "https://?x", "ws://example.org"),
    *("http://user@example.org/", "http://user:pass@example.org/", "http://example.org@127.0.0.1/"),
    *("http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/"),
    *("http://0x7f.1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.1./", "http://0/", "http://0x/"),
    *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[fe80::1%25lo]/"),
    *("http://[fd00:ec2::254]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://169.254.169.254/"),
    *("http://\uff11\uff12\uff17.0.0.1/", "http://127。0。0。1/", "http://①②⑦.⓪.⓪.①/", "http://localhost/"),
    *(
        "http://ex ample.org/",
        "http://example.org\r\nHost: x/",
        "http://\x00/",
        "http://" + "a" * 300 + ".org/",
        "http://[",
    ),
    *(
        "http://93.184.215.14:22/",
        "http://93.184.215.14:0/",
        "http://93.184.215.14:99999/",
        "https://93.184.215.14:8443/",
    ),
]


@pytest.mark.parametrize("url", REFUSED)
def test_addresses_that_are_refused_without_a_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", forbidden)
    with pytest.raises(InvalidInput):
        get(url, guard=None)


def test_a_page_is_fetched(server: PageServer) -> None:
    page = get(f"{server.origin}/?q=1#part")
    assert (page.text, page.media_type, page.charset) == ("hello", "text/plain", "utf-8")
    assert page.url == f"{server.origin}/?q=1#part"
    sent = server.requests[0]
    assert sent.path == "/?q=1"
    assert dict(sent.headers) == {
        "host": server.origin.removeprefix("http://"),
        "accept": "*/*",
        "accept-encoding": "gzip",
        "connection": "keep-alive",
        "user-agent": "agentic",
    }


def test_a_name_is_resolved_once_and_the_checked_address_is_used(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, rebind_test=[["127.0.0.1"], ["10.0.0.1"]])
    port = server.origin.rpartition(":")[2]
    assert get(f"http://rebind.test:{port}/").text == "hello"
    assert names.asked == ["rebind.test"]
    assert server.requests[0].headers["host"] == f"rebind.test:{port}"
    with pytest.raises(InvalidInput):  # a second fetch asks again, and the answer is another now
        get(f"http://rebind.test:{port}/")
    assert len(server.requests) == 1


@pytest.mark.parametrize("found", [["10.0.0.1"], ["93.184.215.14", "169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"]])
def test_a_name_with_an_address_inside_is_refused(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, inside_test=[found])
    with pytest.raises(InvalidInput, match=r"inside\.test, port 80, may not be fetched") as caught:
        get("http://inside.test/")
    assert not any(address in str(caught.value) for address in found)


def test_the_next_address_is_tried_when_one_does_not_answer(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))  # bound, but nobody listens
        port = server.origin.rpartition(":")[2]
        Names(monkeypatch, two_test=[["127.0.0.2", "127.0.0.1"]])
        assert get(f"http://two.test:{port}/", guard=Guard(allow=("127.0.0.0/8",))).text == "hello"


def test_an_unknown_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch)
    with pytest.raises(ToolError, match=r"The host nowhere\.test is not known"):
        get("http://nowhere.test/")


def test_a_name_that_nobody_answers_for_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    giving_up, answered = threading.Event(), threading.Event()

    def patient(*_: object, **__: object) -> None:
        giving_up.wait(10)
        answered.set()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", patient)
    with pytest.raises(ToolError, match=r"did not answer completely within 0\.05 s"):
        get("http://slow.test/", limits=FetchLimits(seconds=0.05))
    assert not answered.is_set(), "the loop has ended without it"
    giving_up.set()


def test_redirects_are_followed(server: PageServer) -> None:
    server.pages |= {"/a": redirect("/b", 301), "/b": redirect(f"{server.origin}/", 307)}
    assert get(f"{server.origin}/a").url == f"{server.origin}/"


@pytest.mark.parametrize(
    "to",
    [
        *("http://169.254.169.254/latest/meta-data/", "http://127.1:80/", "http://[::1]/", "file:///etc/passwd"),
        *("http://user:pass@127.0.0.1/", "ftp://127.0.0.1/", "//127.0.0.2/", "http://0x7f000001/", "gopher://x/"),
    ],
)
def test_each_redirect_is_checked(server: PageServer, to: str) -> None:
    server.pages["/a"] = redirect(to)
    with pytest.raises(InvalidInput):
        get(f"{server.origin}/a")
    assert len(server.requests) == 1


@pytest.mark.parametrize("to", ["http://[", "http://a b/", "http://\x01/"])
def test_a_broken_redirect_is_said(server: PageServer, to: str) -> None:
    server.pages["/a"] = redirect(to)
    with pytest.raises((ToolError, InvalidInput)):
        get(f"{server.origin}/a")


def test_redirects_end(server: PageServer) -> None:
    server.pages["/a"] = redirect("/a")
    with pytest.raises(ToolError, match="more than 5 times"):
        get(f"{server.origin}/a")
    assert len(server.requests) == 6


def test_a_redirects_own_body_is_not_read(server: PageServer) -> None:
    server.pages["/a"] = Found(gzip.compress(bytes(5_000_000)), "text/plain", 302, {"location": "/"})
    assert get(f"{server.origin}/a").text == "hello"


def test_cookies_do_not_travel(server: PageServer) -> None:
    server.pages["/a"] = Found(status=302, headers={"location": "/", "set-cookie": "id=1; Domain=127.0.0.2"})
    get(f"{server.origin}/a")
    assert "cookie" not in server.requests[1].headers


def test_a_page_that_is_too_large_is_refused(server: PageServer) -> None:
    server.pages["/exact"] = Found(b"x" * 1000, "text/plain")
    server.pages["/more"] = Found(b"x" * 1001, "text/plain")
    limits = FetchLimits(size=1000)
    assert len(get(f"{server.origin}/exact", limits).data) == 1000
    with pytest.raises(ToolError, match="more than 1,000 bytes"):
        get(f"{server.origin}/more", limits)


def test_compression_is_undone_within_the_limit(server: PageServer) -> None:
    server.pages |= {
        "/small": zipped("Grüße".encode()),
        "/bomb": zipped(bytes(50_000_000)),
        "/twice": Found(b"x", "text/plain", headers={"content-encoding": "gzip, gzip"}),
        "/other": Found(b"x", "text/plain", headers={"content-encoding": "br"}),
        "/broken": Found(b"\x1f\x8bnonsense", "text/plain", headers={"content-encoding": "gzip"}),
        "/short": Found(gzip.compress(b"x" * 100)[:-9], "text/plain", headers={"content-encoding": "gzip"}),
        "/empty": Found(b"", "text/plain", headers={"content-encoding": "gzip"}),
    }
    assert get(f"{server.origin}/small").text == "Grüße"
    assert get(f"{server.origin}/empty").text == ""
    for path, why in (
        ("/bomb", "more than 1,000,000 bytes"),
        ("/twice", "not asked for"),
        ("/other", "not asked for"),
        ("/broken", "compression is broken"),
        ("/short", "broke off"),
    ):
        with pytest.raises(ToolError, match=why):
            get(f"{server.origin}{path}", FetchLimits(size=1_000_000))


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        *(("text/html", True), ("TEXT/PLAIN; charset=x", True), ("application/json", True), ("", True)),
        *(("application/ld+json", True), ("application/atom+xml; a=b", True), ("image/png", False)),
        *(("application/pdf", False), ("application/octet-stream", False), ("video/mp4", False)),
    ],
)
def test_types_are_checked_before_the_body_is_read(server: PageServer, content_type: str, taken: bool) -> None:
    server.pages["/x"] = Found(b"x", content_type)
    if taken:
        assert get(f"{server.origin}/x").text == "x"
    else:
        with pytest.raises(ToolError, match="cannot be read here"):
            get(f"{server.origin}/x")
        assert get(f"{server.origin}/x", FetchLimits(types=None)).data == b"x"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=latin-1", b"Gr\xfc\xdfe", "Grüße"),
        ("text/plain; charset=nonsense", "Grüße".encode(), "Grüße"),
        ("text/plain; charset=hex", b"ff", "ff"),
        ("text/plain", b"\xef\xbb\xbfGr\xff", "Gr�"),
    ],
)
def test_any_bytes_become_text(server: PageServer, content_type: str, body: bytes, text: str) -> None:
    server.pages["/x"] = Found(body, content_type)
    assert get(f"{server.origin}/x").text == text


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Status(404, b"x"), "answered 404"),
        (Status(500, b"x"), "answered 500"),
        (HangUp(), "could not be fetched"),
    ],
)
def test_failures_are_said(server: PageServer, fault: Any, why: str) -> None:
    server.faults.append(fault)
    with pytest.raises(ToolError, match=why):
        get(f"{server.origin}/")


class Dripping(PageServer):
    async def answer(self, request: Any, answer: Any) -> None:
        await answer.start("text/plain")
        for _ in range(3):
            await answer.send(b"drop")
        await answer.end()


@pytest.mark.parametrize(("fault", "why"), [(StallAfter(1), "within 0.3 s"), (CutAfter(1), "could not be fetched")])
def test_a_page_that_does_not_end_is_given_up(fault: Any, why: str) -> None:
    with Dripping() as server:
        server.faults.append(fault)
        with pytest.raises(ToolError, match=why):
            get(f"{server.origin}/", FetchLimits(seconds=0.3))
        assert fault == CutAfter(1) or server.requests[0].gone.wait(5)


def test_cancelling_closes_the_connection() -> None:
    async def main(server: Dripping) -> None:
        task = asyncio.ensure_future(fetch(f"{server.origin}/", guard=HERE))
        await asyncio.to_thread(server.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Dripping() as server:
        server.faults.append(StallAfter(0))
        asyncio.run(main(server))
        assert server.requests[0].gone.wait(5)


def test_proxies_of_the_environment_are_not_used(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(f"{server.origin}/").text == "hello"


def test_tls_is_checked_against_the_name_and_not_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(TLS / "pages.pem", TLS / "pages.key")
    asked: list[str | None] = []
    serving.set_servername_callback(lambda _socket, name, _context: asked.append(name))
    trusting = ssl.create_default_context(cafile=str(TLS / "pages.pem"))
    Names(monkeypatch, pages_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving)
        port = server.sockets[0].getsockname()[1]
        async with server, guarded_client(HERE, verify=trusting) as client:
            assert (await client.get(f"https://pages.test:{port}/")).text == "ok"
            with pytest.raises(httpx.ConnectError, match=r"(?i)hostname|certificate"):
                await client.get(f"https://other.test:{port}/")

    hosts: list[bytes] = []
    asyncio.run(main())
    assert asked == ["pages.test", "other.test"]
    assert b"Host: pages.test:" in hosts[0]
    assert len(hosts) == 1

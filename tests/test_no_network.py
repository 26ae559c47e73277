"""Tests reach this machine and no other, and leave the user's cache alone."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest
from no_network import NetworkForbidden, is_here

ELSEWHERE = "192.0.2.1"  # an address for examples, which nobody has


def udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"?", address)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection((ELSEWHERE, 80), timeout=5),
        lambda: socket.socket().connect((ELSEWHERE, 80)),
        lambda: socket.socket().connect_ex((ELSEWHERE, 80)),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
        lambda: udp((ELSEWHERE, 53)),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: socket.gethostbyname("example.org"),
    ],
)
def test_other_machines_cannot_be_reached(reach):
    asked = r"tests may not reach the network.* asked for (192\.0\.2\.1|2001:db8::1|example\.org) "
    with pytest.raises(NetworkForbidden, match=asked):
        reach()


def test_a_download_fails_at_once_and_says_why():
    with pytest.raises(OSError, match="tests may not reach the network"):
        urllib.request.urlopen("https://example.org/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_can(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1])).close()


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("::1", True), ("127.8.9.10", True), ("0.0.0.0", True), (socket.gethostname(), True),
        ("128.0.0.1", False), ("10.0.0.1", False), ("localhost.example.org", False),
    ],
)  # fmt: skip
def test_what_counts_as_this_machine(host, here):
    assert is_here(host) is here


def test_a_unix_socket_is_no_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of such a socket has room for 100 bytes
    path = "here"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)


def test_child_processes_are_held_back_too(tmp_path):
    """And what they start in turn, wherever they run."""
    reach = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=5)"
    again = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {reach!r}]))"
    for program in (reach, again):
        child = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=tmp_path)
        assert child.returncode == 1
        assert b"NetworkForbidden: tests may not reach the network" in child.stderr


def test_the_cache_is_not_the_users():
    """Neither here nor in commands that tests start."""
    cache = os.environ["SRKIT_CACHE"]
    assert Path(cache).parent == Path(tempfile.gettempdir())
    command = [sys.executable, "-m", "srkit", "doctor", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    assert told["folders"]["cache"] == cache

"""Importing this module forbids its process every connection except to this machine.

Python asks an audit hook before it connects or looks up a name. Unlike a replaced `socket.connect`,
the hook cannot be undone by a test. `sitecustomize.py` does the same for child processes.
"""

import sys
from ipaddress import ip_address

CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKS_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


class NetworkForbidden(OSError):
    """A test tried to reach another machine."""


def is_here(host: str) -> bool:
    """Whether `host`, a name or a number, is this machine: "localhost", 127.0.0.1, ::1, ..."""
    try:
        address = ip_address(host)
    except ValueError:
        import socket

        return host in ("", "localhost", socket.gethostname())
    return address.is_loopback or address.is_unspecified


def refuse_other_machines(event: str, arguments: tuple) -> None:
    if event in CONNECTS:
        _, address = arguments
        host = address[0] if isinstance(address, tuple) else None  # None: a Unix socket's path
    elif event in LOOKS_UP:
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if isinstance(host, str) and not is_here(host):
        raise NetworkForbidden(
            f"tests may not reach the network, and this one asked for {host} ({event}). Take files "
            "from SRKIT_HOME by the fixture `assets`, or serve them on 127.0.0.1."
        )


sys.addaudithook(refuse_other_machines)

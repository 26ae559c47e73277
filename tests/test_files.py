"""Finding, writing, fetching and unpacking files. Nothing here leaves this machine."""

import errno
import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from srkit import files
from srkit.checks import check_place

BYTES = os.urandom(3 << 20)
HASH = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRKIT_HOME", raising=False)


class Server(BaseHTTPRequestHandler):
    """/good answers Range; /once breaks off in the middle the first time; /plain ignores Range."""

    asked: list[tuple[str, str | None]]
    broken: set[str]

    def do_GET(self):
        asked_range = self.headers.get("Range")
        self.asked.append((self.path, asked_range))
        if self.path not in ("/good", "/once", "/plain"):
            self.send_error(404)
            return
        start = 0
        if asked_range and self.path != "/plain":
            start = int(re.fullmatch(r"bytes=(\d+)-", asked_range)[1])
        if start >= len(BYTES):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BYTES) - start))
        self.end_headers()
        stop = len(BYTES)
        if self.path == "/once" and self.path not in self.broken:
            self.broken.add(self.path)
            stop //= 2
        self.wfile.write(BYTES[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"asked": [], "broken": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}).start()
        handler.url = f"http://127.0.0.1:{http.server_port}"
        yield handler
        http.shutdown()


def left_over(folder):
    """The files in a folder, but for the cache's locks."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in found if path.parent.name != "locks")


# Where files are looked for


def test_home_is_the_named_folders_in_order_and_then_the_cache(tmp_path, monkeypatch):
    a, b = tmp_path / "a", tmp_path / "b"
    monkeypatch.setenv("SRKIT_HOME", f"{a}{os.pathsep}{b}")
    assert files.home() == [a, b, tmp_path / "cache"]
    assert not (tmp_path / "cache").exists(), "looking makes no folder"
    for folder in (b, files.cache_folder()):
        folder.mkdir(exist_ok=True)
        (folder / "x").write_text(folder.name)
    assert files.find("x") == b / "x"
    assert files.find("y") is None


def test_data_path_finds_what_ships_and_names_what_does_not():
    assert files.data_path("README.md").is_file()
    assert files.find_data("README.md") == files.data_path("README.md")
    assert files.find_data("nothing.json") is None
    with pytest.raises(FileNotFoundError, match=r"ships no 'nothing\.json'"):
        files.data_path("nothing.json")


# Writing


def test_write_whole_replaces_the_file_with_ordinary_rights(tmp_path):
    path = tmp_path / "new" / "x.bin"
    with files.write_whole(path) as file:
        file.write(b"one")
    with files.write_whole(path, "w") as file:
        file.write("zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert left_over(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_write_whole_interrupted_keeps_the_old_file(tmp_path, failure):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def interrupted():
        with files.write_whole(path) as file:
            file.write(b"half of the ne")
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert path.read_bytes() == b"old"
    assert left_over(tmp_path) == ["x"]


def test_write_whole_on_a_full_disk_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "x"
    with (
        pytest.raises(OSError, match=r"disk is full.*MiB free.*x'") as caught,
        files.write_whole(path),
    ):
        pass
    assert caught.value.errno == errno.ENOSPC
    assert left_over(tmp_path) == []


def test_write_whole_writes_through_a_link_and_not_over_a_folder(tmp_path):
    (tmp_path / "link").symlink_to("target")
    with files.write_whole(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"
    with pytest.raises(ValueError, match="not a plain file"), files.write_whole(tmp_path):
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "your share of the disk is used up"),
        (errno.EFBIG, r"the file is larger than the disk, or a limit \(ulimit -f\), allows"),
    ],
)
def test_no_room_is_said_in_words_whatever_the_system_calls_it(
    tmp_path, monkeypatch, number, words
):
    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OSError, match=rf"{words}.* MiB free.*\. Make room, or choose .*x'"),
        files.write_whole(tmp_path / "x"),
    ):
        pass
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE, errno.EACCES])
def test_what_cannot_be_written_is_named_and_not_its_temporary_file(tmp_path, monkeypatch, number):
    def fails(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("builtins.open", fails)
    words = re.escape(f"{os.strerror(number)}: '{tmp_path / 'x'}'")
    with pytest.raises(OSError, match=rf"{words}$"), files.write_whole(tmp_path / "x"):
        pass


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="'none'"), files.write_whole(tmp_path / "x"):
        os.stat("none")


def test_a_link_to_itself_is_no_place(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for refuse in (
        files.write_whole(tmp_path / "a").__enter__,
        lambda: check_place(tmp_path / "a"),
    ):
        with pytest.raises(ValueError, match="a is a link that leads back to itself: remove it"):
            refuse()
    assert not any(tmp_path.glob(".srkit*"))


def test_the_home_folder_is_meant_by_a_tilde_and_no_user_by_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with files.write_whole("~/a.json", "w") as file:
        file.write("[1]")
    assert files.read_json("~/a.json", list) == [1]
    assert files.sha256("~/a.json") == files.sha256(tmp_path / "a.json")
    with files.write_whole("~draft.json", "w") as file:  # of no user who is called so
        file.write("[2]")
    assert files.read_json(tmp_path / "~draft.json", list) == [2]
    assert left_over(tmp_path) == ["a.json", "~draft.json"]


def test_a_cache_that_cannot_be_is_told_with_the_name_that_chooses_another(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"\(SRKIT_CACHE names another\).*is a file, no folder"):
        files.fetch([], "weights/x", None)
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "closed"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"\(SRKIT_CACHE names another\) cannot be written"):
        files.fetch([], "weights/x", None)


# Fetching


def test_fetch_downloads_once_and_verifies(server):
    path = files.fetch([f"{server.url}/good"], "weights/a.bin", HASH)
    assert path == files.cache_folder() / "weights/a.bin"
    assert path.read_bytes() == BYTES
    assert files.sha256(path) == HASH
    assert files.fetch([f"{server.url}/good"], "weights/a.bin", HASH) == path
    assert server.asked == [("/good", None)]


def test_fetch_prefers_a_folder_of_srkit_home_and_never_writes_there(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_bytes(BYTES)
    assert files.fetch([f"{server.url}/good"], "a", HASH) == tmp_path / "home" / "a"
    assert server.asked == []
    (tmp_path / "home" / "a").write_bytes(b"another file of that name")
    assert files.fetch([f"{server.url}/good"], "a", HASH) == files.cache_folder() / "a"
    assert (tmp_path / "home" / "a").read_bytes() == b"another file of that name"


def test_fetch_resumes_a_broken_transfer(server):
    with pytest.raises(RuntimeError, match=rf"broke off after {len(BYTES) // 2} of {len(BYTES)}"):
        files.fetch([f"{server.url}/once"], "a", HASH)
    assert left_over(files.cache_folder()) == ["a.part"]
    path = files.fetch([f"{server.url}/once"], "a", HASH)
    assert path.read_bytes() == BYTES
    assert server.asked == [("/once", None), ("/once", f"bytes={len(BYTES) // 2}-")]
    assert left_over(files.cache_folder()) == ["a"]


@pytest.mark.parametrize(("begun", "address"), [(1000, "/plain"), (len(BYTES), "/good")])
def test_fetch_copes_with_servers_that_send_all_or_nothing_more(server, begun, address):
    (files.cache_folder() / "a.part").write_bytes(BYTES[:begun])
    assert files.fetch([server.url + address], "a", HASH).read_bytes() == BYTES


def test_fetch_tries_mirrors_in_order(server):
    path = files.fetch([f"{server.url}/gone", f"{server.url}/good"], "a", HASH)
    assert path.read_bytes() == BYTES
    assert [address for address, _ in server.asked] == ["/gone", "/good"]


def test_fetch_drops_a_file_of_another_hash_and_tells_both(server):
    wrong = "0" * 64
    with pytest.raises(RuntimeError, match=rf"(?s){wrong}.*{HASH}.*by hand.*SRKIT_HOME"):
        files.fetch([f"{server.url}/good"], "a", wrong)
    assert left_over(files.cache_folder()) == []


def test_fetch_lists_every_failure(server):
    nobody = "http://127.0.0.1:9/a"  # nobody listens there: as without a network
    with pytest.raises(files.Unreachable) as caught:
        files.fetch([f"{server.url}/gone", nobody], "weights/a", HASH)
    message = str(caught.value)
    assert "/gone: HTTP Error 404" in message
    assert f"{nobody}: " in message
    assert "refused" in message
    assert str(files.cache_folder() / "weights" / "a") in message


def test_fetch_without_a_known_hash_warns_and_records_the_one_seen(server):
    with pytest.warns(UserWarning, match=f"unverified.*{HASH}"):
        path = files.fetch([f"{server.url}/good"], "a", None)
    assert (files.cache_folder() / "a.sha256").read_text() == f"{HASH}  a\n"
    assert files.fetch([], "a", None) == path


DIES = """
import os, signal, sys
from pathlib import Path
from srkit import files
from srkit.checks import check_place
with files.temporary_folder(Path(sys.argv[1])) as folder, files.write_whole(folder / "a") as file:
    (folder.parent / "mine").write_text("stays")
    with files.write_whole(folder.parent / "b") as other:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["a file", "a folder"])
def test_what_a_killed_process_left_goes_with_the_next_use_of_its_folder(tmp_path, how):
    """Temporary files, and folders with all that is in them."""
    subprocess.run([sys.executable, "-c", DIES, tmp_path], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    if how == "a file":
        with files.write_whole(tmp_path / "b") as file:
            file.write(b"whole")
    else:
        with files.temporary_folder(tmp_path) as folder:
            assert folder.is_dir()
    assert left_over(tmp_path) == (["b", "mine"] if how == "a file" else ["mine"])


# Unpacking


def make_zip(path, entries, mode=0):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
            archive.writestr(info, content)
    return path


def make_tar(path, entries, kind=tarfile.REGTYPE, link=""):
    suffix = path.suffix.removeprefix(".")
    with tarfile.open(path, f"w:{suffix if suffix != 'tar' else ''}") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.gz", "a.bz2", "a.xz"])
def test_unpack_reads_the_usual_archives(tmp_path, name):
    make = make_zip if name == "a.zip" else make_tar
    archive = make(tmp_path / name, {"set/one.png": b"1", "two.png": b"22"})
    folder = files.unpack(archive, tmp_path / "deep" / "out")
    assert (folder / "set" / "one.png").read_bytes() == b"1"
    assert (folder / "two.png").read_bytes() == b"22"
    with pytest.raises(FileExistsError, match="there already"):
        files.unpack(archive, folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:40] + data[90:],  # a member begins before the file: EINVAL of the system
        lambda data: data.replace(
            b"PK\1\2\x14\x03\x14", b"PK\1\2\x14\x03\xff"
        ),  # of a later version
        lambda data: data.replace(b"\0\0\x08\0", b"\1\0\x08\0"),  # it wants a password
        lambda data: data.replace(b"\0\0\x08\0", b"\0\0\x63\0"),  # packed in an unknown way
        lambda data: data.replace(b"\0\0\x08\0", b"\0\x08\x08\0").replace(b"one", b"\xff\xfe\xfd"),
    ],
)
def test_a_damaged_zip_is_broken_whatever_python_says_of_it(tmp_path, spoil):
    archive = make_zip(tmp_path / "a.zip", {"one": bytes(range(200)), "two": b"22"})
    whole = archive.read_bytes()
    archive.write_bytes(spoil(whole))
    assert archive.read_bytes() != whole
    with pytest.raises(
        ValueError, match=r"a\.zip is (broken|neither).*: delete it and fetch it again"
    ):
        files.unpack(archive, tmp_path / "out")
    assert left_over(tmp_path) == ["a.zip"]


OUTSIDE = ["../x", "a/../../x", "/tmp/x", "C:\\x", "a\\..\\..\\x"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", OUTSIDE)
def test_unpack_refuses_names_outside_the_folder(tmp_path, make, name):
    archive = make(tmp_path / "evil.tar", {"good": b"1", name: b"2"})
    refused(archive, tmp_path, "outside")


@pytest.mark.parametrize(
    ("kind", "link"),
    [(tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "../x"), (tarfile.CHRTYPE, ""),
     (tarfile.FIFOTYPE, "")],
)  # fmt: skip
def test_unpack_refuses_links_and_devices_in_a_tar(tmp_path, kind, link):
    refused(make_tar(tmp_path / "evil.tar", {"x": b""}, kind, link), tmp_path, "link or a device")


def test_unpack_refuses_links_in_a_zip(tmp_path):
    archive = make_zip(tmp_path / "evil.zip", {"x": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    refused(archive, tmp_path, "link or a device")


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.gz"])
def test_unpack_refuses_absurd_expansion(tmp_path, name):
    zeros = bytes(files.ALWAYS_ALLOWED // 2 + 1)
    make = make_zip if name == "bomb.zip" else make_tar
    refused(make(tmp_path / name, {"a": zeros, "b": zeros}), tmp_path, "expand to")


@pytest.mark.parametrize("name", ["full.zip", "full.gz"])
def test_unpack_takes_what_expands_to_just_what_is_allowed(tmp_path, name, monkeypatch):
    monkeypatch.setattr(files, "ALWAYS_ALLOWED", 1000)
    monkeypatch.setattr(files, "MAX_EXPANSION", 0)
    make = make_zip if name == "full.zip" else make_tar
    refused(make(tmp_path / f"2{name}", {"a": bytes(400), "b": bytes(601)}), tmp_path, "expand to")
    files.unpack(make(tmp_path / name, {"a": bytes(400), "b": bytes(600)}), tmp_path / "out")
    assert (tmp_path / "out/b").stat().st_size == 600


def test_unpack_refuses_broken_archives(tmp_path):
    whole = make_zip(tmp_path / "a.zip", {"x": os.urandom(9999)}).read_bytes()
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(whole[:5000] + b"?" + whole[5001:])
    refused(damaged, tmp_path, "is broken")
    short = tmp_path / "short.tar.gz"
    make_tar(tmp_path / "a.gz", {"x": os.urandom(99999)})
    short.write_bytes((tmp_path / "a.gz").read_bytes()[:50000])
    refused(short, tmp_path, "is broken")
    page = tmp_path / "page.zip"
    page.write_bytes(gzip.compress(b"<html>Log in to this network</html>"))
    refused(page, tmp_path, "neither a zip nor a tar")


@pytest.mark.parametrize("name", ["a.gz", "a.bz2", "a.xz"])
def test_unpack_notices_one_wrong_bit_in_a_compressed_tar(tmp_path, name):
    archive = make_tar(tmp_path / name, {"x": os.urandom(99999)})
    content = bytearray(archive.read_bytes())
    content[50000] ^= 1
    archive.write_bytes(content)
    refused(archive, tmp_path, "is broken|neither a zip nor a tar")


def test_unpack_checks_the_room_before_it_writes(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", {"x": b"1234"})
    usage = files.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=3))
    with pytest.raises(OSError, match=r"disk is full: .* has 0\.0 MiB free"):
        files.unpack(archive, tmp_path / "out")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=4))
    files.unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/x").read_bytes() == b"1234"


def refused(archive, tmp_path, words):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=words):
        files.unpack(archive, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left"

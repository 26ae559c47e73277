"""What kind of file weights lie in, told by its bytes and never by its name."""

from __future__ import annotations

import zipfile
from os import PathLike
from pathlib import Path

from srkit.files import Damaged
from srkit.weights import foreign

INSTEAD = (
    "srkit reads the weights of PyTorch, safetensors, Caffe, TensorFlow 1, NumPy (.npz) and ncnn"
)
UNPACK = "unpack it first"
TORCH7 = (
    "srkit does not read it. Open it where Torch7 or a reader of its files is, and save its "
    "tensors by the names and shapes of create_model(name).state_dict(), with torch.save or as "
    ".safetensors"
)
# How a file begins that srkit does not read: its first bytes, what it is, what to do.
OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "run `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file (of Keras, perhaps)", INSTEAD),
    (b"\x93NUMPY", "a single array of NumPy", "np.savez keeps several, by name"),
    (b"GGUF", "a GGUF file, of a language model", INSTEAD),
    (b"\x1f\x8b", "compressed by gzip", UNPACK),
    (b"BZh", "compressed by bzip2", UNPACK),
    (b"\xfd7zXZ", "compressed by xz", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "a file of Torch7", TORCH7),
    (b"\x89PNG", "a PNG picture", INSTEAD),
    (b"\xff\xd8\xff", "a JPEG picture", INSTEAD),
    (b"%PDF", "a PDF document", INSTEAD),
    (b"<", "a web page or an XML file, not weights", "look at what the address gave"),
)
CAFFE = (1, 2, 3, 4, 5, 6, 7, 8, 100)  # the fields of a NetParameter
LARGEST = 64 * 2**20  # bytes that an archive may always unpack to, and times its own size:
SHRUNK = 20  # numbers of trained weights hardly get smaller; no honest file does by so much


def format_of(path: str | PathLike) -> str:
    """One of "safetensors", "pytorch", "npz", "caffe", "tensorflow", "ncnn".

    The members of an archive (a .pth is one, an .npz, too) are checked on the way.

    Raises ValueError, which says what the file is, for any other; for one that is empty, cut short
    or damaged, and for an archive that would unpack to far more than its own size.
    """
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if foreign.is_ncnn(path):
        return "ncnn"
    if not head:
        raise Damaged(f"{path} is empty: fetch it again.")
    if head[:4] == b"PK\x03\x04":
        return _archive(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if foreign.is_tensorflow(path):
        return "tensorflow"
    if path.suffix == ".t7":
        raise ValueError(f"{path} is a file of Torch7: {TORCH7}.")
    for magic, what, advice in OTHERS:
        if head.lstrip().startswith(magic):
            raise ValueError(f"{path} is {what}: {advice}.")
    if head[4:8] == b"TFL3":
        raise ValueError(f"{path} is a model of TensorFlow Lite: {INSTEAD}.")
    if head[257:262] == b"ustar":
        raise ValueError(f"{path} is a tar archive: unpack it, and pass the file of weights in it.")
    if head[0] == 0x80:  # a pickle: what PyTorch wrote before 1.6
        return "pytorch"
    if _begins_like_onnx(head):
        raise ValueError(
            f"{path} is a model in ONNX, which keeps a computation with its weights: {INSTEAD}."
        )
    if _begins_like_caffe(head):
        return "caffe"
    raise Damaged(f"{path} is broken, cut off, or not a file of weights: fetch it again.")


def _archive(path: Path) -> str:
    """The format of a zip archive, all members of which are whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_size(path, members)
            names = [member.filename for member in members]
            kind = _kind_of_archive(path, names)
            damaged = [name for name in names if not _whole(archive, name)]
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, UnicodeError) as error:
        raise Damaged(
            f"{path} is broken, cut off, or not a file of weights ({error}): fetch it again."
        ) from error
    # torch.save can be told to write no checksums: then none fits
    if damaged and not (kind == "pytorch" and len(damaged) == len(names) > 1):
        raise Damaged(
            f"{path} is damaged: {damaged[0]} in it does not have its checksum: fetch it again."
        )
    return kind


def _check_size(path: Path, members: list[zipfile.ZipInfo]) -> None:
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if unpacked > max(LARGEST, SHRUNK * size):
        raise ValueError(
            f"{path} is refused: its {size:,} bytes would unpack to {unpacked:,}, and weights do "
            f"not shrink to less than a {SHRUNK}th. If you trust the file, save it again without "
            "compression."
        )


def _kind_of_archive(path: Path, names: list[str]) -> str:
    parts = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in parts or any("/code/" in name for name in names):
        raise ValueError(
            f"{path} is TorchScript, a program with its weights, which srkit does not run. Save "
            "the weights alone where it was made: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pth')."
        )
    if "data.pkl" in parts:
        return "pytorch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    held = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    raise ValueError(
        f"{path} is a zip archive with {held or 'nothing in it'}: "
        "unpack it, and pass the file of weights in it."
    )


def _whole(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether a member has its checksum. Raises BadZipFile where it cannot be unpacked at all."""
    try:
        with archive.open(name) as member:
            while member.read(2**20):
                pass
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            return False
        raise
    except Exception as error:  # what is packed may be damaged in any way, or have a password
        raise zipfile.BadZipFile(f"{name}: {error}") from error
    return True


def _begins_like_onnx(head: bytes) -> bool:
    """ONNX's ModelProto: 1 the version of its format, a small number; then a text or the graph."""
    return head[0] == 0x08 and head[1] < 128 and head[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x42")


def _begins_like_caffe(head: bytes) -> bool:
    tag, at = 0, 0
    for at, byte in enumerate(head[:2]):  # a number in base 128, low digits first
        tag |= (byte & 127) << (7 * at)
        if byte < 128:
            break
    return tag >> 3 in CAFFE and tag & 7 in (0, 2)

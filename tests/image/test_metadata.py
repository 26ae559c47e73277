"""Resolutions and profiles, at the edges of what is believed."""

import pytest

from srkit.image.metadata import resolution, sound_icc


@pytest.mark.parametrize(
    ("x", "y", "inch", "found", "lost"),
    [
        (300, 300, 1, (300, 300), ""),
        (118, 118.5, 2.54, (299.72, 300.99), ""),
        (0, 300, 1, None, ""),
        (300, 0, 1, None, ""),
        (-1, -1, 1, None, ""),
        (1, 1, None, None, ""),
        (60_000, 60_000, 1, (60_000, 60_000), ""),
        (60_001, 60_001, 1, None, "pixels an inch and was left out"),
        (2, 1, None, None, "its pixels are not square"),
        (2, 1, 1, (2, 1), "its pixels are not square"),
        (1.02, 1, 1, (1.02, 1), "its pixels are not square"),
        (1.009, 1, 1, (1.009, 1), ""),
    ],
)
def test_a_resolution_is_two_positive_numbers_of_a_unit_of_length(x, y, inch, found, lost):
    told = []
    assert resolution(x, y, inch, told) == (found and pytest.approx(found, abs=0.01))
    assert len(told) == bool(lost)
    assert lost in "".join(told)


def profile(size: int, says: int, signature: bytes = b"acsp") -> bytes:
    return (says.to_bytes(4, "big") + bytes(32) + signature).ljust(size, b"\0")


def test_a_profile_has_a_header_a_signature_and_all_its_bytes():
    for whole in (profile(132, 132), profile(200, 132)):
        lost = []
        assert sound_icc(whole, lost) == whole
        assert lost == []
    for broken in (profile(131, 131), profile(132, 133), profile(132, 132, b"acsq")):
        lost = []
        assert sound_icc(broken, lost) is None
        assert lost == ["its ICC profile is damaged and was left out"]

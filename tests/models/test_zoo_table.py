"""What the zoo's lines say does not change by a slip of the finger."""

import hashlib
import json
from dataclasses import asdict
from inspect import signature

import pytest
from small import SMALL

from srkit.models.zoo import ZOO

# Figures, hashes and years stand there to be read: no network is built from them. After a change
# that is meant, put the digest here that the test names.
DIGESTS = {
    "RLFN": "3b8a33d677c7",
    "RFDN": "13c9d2e4ae71",
    "IMDN": "a032533dbc8e",
    "EDSR": "752a5312fe1b",
    "MemNet": "e83a2666bc43",
    "DBPN": "1d4f5fd9fde4",
    "DBPN-RES": "796c35039e0f",
    "RDN": "34834f437711",
    "RCAN": "01be790fdd9f",
    "MSRN": "bf02dbbd5ab4",
    "SRGAN": "ad58bcf71c8f",
    "SRFeat": "f98828adba3e",
    "ESRGAN": "9b44f69c0414",
    "CIPLab": "996ba4c183c0",
    "SFTGAN": "99e65ca66a75",
    "TTSR": "d6e7f6e9203e",
    "IDN": "427aaf00471c",
    "CARN": "e2475fdab37a",
    "PCARN": "d3e4e9fec2c4",
    "EnhanceNet": "c7ac2ad0ea92",
    "ZSSR": "91fdddd3a047",
    "SRCNN": "366322803573",
    "VDSR": "d17262037f9b",
    "LapSRN": "75ed33144a12",
}


@pytest.mark.parametrize("label", dict.fromkeys(entry.paper.label for entry in ZOO))
def test_the_lines_of_a_paper_are_what_they_were(label):
    """Scales, sizes, arguments, addresses, hashes, licences and figures of its networks."""
    lines = [asdict(entry) for entry in ZOO if entry.paper.label == label]
    digest = hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()[:12]
    assert digest == DIGESTS[label], f"{label} says something else: {digest}, if that is meant"


# As the papers have their networks, where nothing else is asked for.
# fmt: off
DEFAULTS = {
    "RLFN": {"scale": 4, "channels": 52, "mid": None, "blocks": 6, "esa": 16, "block": "RLFB",
        "rgb_range": 255.0},
    "RFDN": {"scale": 4, "channels": 48, "blocks": 6, "attention": "cca", "shortcut": True,
        "rgb_range": 255.0},
    "IMDN": {"scale": 4, "channels": 64, "blocks": 6, "rgb_range": 1.0},
    "EDSR": {"scale": 4, "channels": 64, "blocks": 16, "res_scale": 1.0, "rgb_range": 255.0},
    "MemNet": {"scale": 4, "channels": 64, "blocks": 6, "recursions": 6, "supervised": True,
        "long_term": True, "short_term": True, "shared": True},
    "DBPN": {"scale": 4, "channels": 64, "features": 256, "stages": 7, "dense": True, "rounds": 1,
        "last_only": False, "residual": False, "colours": 3, "feedback": True, "checkpointing":
        False},
    "RDN": {"scale": 4, "channels": 64, "growth": 64, "blocks": 16, "layers": 8, "up": None,
        "contiguous": True, "local_residual": True, "global_fusion": True, "rgb_range": 255.0},
    "IdealoRDN": {"scale": 2, "channels": 64, "growth": 64, "blocks": 10, "layers": 3},
    "RCAN": {"scale": 4, "channels": 64, "groups": 10, "blocks": 20, "reduction": 16, "attention":
        True, "short_skip": True, "long_skip": True, "rgb_range": 255.0},
    "MSRN": {"scale": 4, "channels": 64, "blocks": 8, "wide": 5, "fusion": True, "rgb_range":
        255.0},
    "MSRN2018": {"scale": 4, "channels": 64, "blocks": 8},
    "SRResNet": {"scale": 4, "channels": 64, "blocks": 16, "channel_slopes": False, "trunk_bias":
        True},
    "SRGANPort": {"scale": 4, "channels": 64, "blocks": 5},
    "MSRResNet": {"scale": 4, "channels": 64, "blocks": 16},
    "SRFeat": {"scale": 4, "channels": 128, "blocks": 16, "long_skips": True},
    "RRDBNet": {"scale": 4, "channels": 64, "blocks": 23, "growth": 32, "scaling": 0.2,
        "batch_norm": False},
    "RRDBNetx4x4": {"scale": 16, "channels": 64, "blocks": 23, "growth": 32},
    "SFTGAN": {"scale": 4, "channels": 64, "blocks": 16, "conditions": 32, "width": 128,
        "classes": 8, "retrained": False, "by": "sft"},
    "TTSR": {"scale": 4, "channels": 64, "blocks": (16, 16, 8, 4), "textures": (64, 128, 256),
        "even_borders": False, "variant": "full"},
    "IDN": {"scale": 4, "channels": 64, "keep": 16, "step": 16, "blocks": 4, "groups": 4,
        "bicubic": True},
    "CARN": {"scale": 4, "heads": None, "channels": 64, "groups": 1, "mobile": False, "local":
        True, "across": True},
    "PCARN": {"scale": 4, "heads": None, "channels": 64, "groups": 1, "mobile": False},
    "EnhanceNet": {"scale": 4, "channels": 64, "blocks": 10, "skip": "bicubic"},
    "ZSSR": {"scale": 2, "channels": 64, "depth": 8},
    "SRCNN": {"scale": 2, "kernels": (9, 5, 5)},
    "VDSR": {"scale": 2, "channels": 64, "depth": 20},
    "LapSRN": {"scale": 4, "channels": 64, "depth": 10},
}
# fmt: on


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_network_without_arguments_is_the_papers(name):
    (network,) = {call.function for call in SMALL if call.function.__name__ == name}
    parameters = signature(network).parameters.items()
    found = {key: p.default for key, p in parameters if p.default is not p.empty}
    assert found == DEFAULTS[name]

"""Each network against a straightforward eager implementation of its paper: ratios of one run.

    python benchmarks/networks.py [--rounds 7] [--only rcan_x4 ttsr_x4]

float32, one thread, random weights. srkit's network runs as srkit.upscale runs it: without
gradients, the picture in the network's own `memory_format`. Its rival has the same weights and gets
a contiguous picture; where the authors write a block otherwise, it is written here after their way
(STRAIGHTFORWARD), elsewhere the operations are the same, so that the layout alone is compared.
`layout` compares srkit's network with itself in the other layout: below 1, `memory_format` is the
wrong one on this machine.

The three take turns; a figure is the median over the rounds of the ratio of processor times, so
that a busy machine disturbs all alike. Goal: every ratio at least 1.
Writes data/runs/networks.json.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import srkit
from srkit.models import layers, msrn, rcan, ttsr
from srkit.training.record import machine, write_json

NETWORKS = {  # side of the LR picture, the smaller the heavier the network
    "srcnn_x4": 64, "vdsr_x4": 32, "lapsrn_x4": 48, "srresnet_x4": 48, "msrresnet_x4": 48,
    "enhancenet_x4": 48, "edsr_baseline_x4": 48, "memnet_x4": 16, "ddbpn_x4": 16, "idn_x4": 64,
    "rdn_x4": 32, "rcan_x4": 32, "msrn_x4": 48, "msrn2018_x4": 48, "carn_x4": 64, "carn_m_x4": 64,
    "zssr_x2": 64, "sftgan_x4": 48, "srfeat_x4": 32, "esrgan_x4": 32, "ttsr_x4": 32, "imdn_x4": 64,
    "rfdn_x4": 64, "rfdn_aim_x4": 64, "rlfn_x4": 64, "ciplab_x16": 8,
}  # fmt: skip
LAYOUTS = {torch.contiguous_format: "contiguous", torch.channels_last: "channels_last"}


def cca(self: layers.CCA, x: Tensor) -> Tensor:
    """IMDN: mean, then mean squared difference, each summed over the columns, then the rows."""
    pixels = x.shape[2] * x.shape[3]
    mean = x.sum(3, keepdim=True).sum(2, keepdim=True) / pixels
    var = (x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True) / pixels
    return x * self.conv_du(var.pow(0.5) + F.adaptive_avg_pool2d(x, 1))


def channel_attention(self: rcan.ChannelAttention, x: Tensor) -> Tensor:
    """RCAN: an average pooling to one pixel."""
    return x * self.conv_du(F.adaptive_avg_pool2d(x, 1))


def msrb(self: msrn.MSRB, x: Tensor) -> Tensor:
    """MSRN: an activation after each convolution, then the joining."""
    s1, p1 = F.relu(self.conv_3_1(x)), F.relu(self.conv_5_1(x))
    y = torch.cat([s1, p1], 1)
    s2, p2 = F.relu(self.conv_3_2(y)), F.relu(self.conv_5_2(y))
    return self.confusion(torch.cat([s2, p2], 1)) + x


def rdb(self: layers.RDB, x: Tensor) -> Tensor:
    """ESRGAN: all maps joined anew before each convolution."""
    maps = [x]
    for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
        maps.append(F.leaky_relu(layer(torch.cat(maps, 1)), 0.2))
    return self.conv5(torch.cat(maps, 1)) * 0.2 + x


def attend(self: ttsr.TTSR, lr_up: Tensor, ref: Tensor, ref_blurred: Tensor) -> ttsr.Attention:
    """TTSR: all patches unfolded and multiplied at once; textures unfolded, picked and folded."""
    q, k = self.LTE(lr_up)[2], self.LTE(ref_blurred)[2]
    q_patches = F.normalize(F.unfold(q, 3, padding=1), dim=1)  # (B, 9C, hw)
    k_patches = F.normalize(F.unfold(k, 3, padding=1).transpose(1, 2), dim=2)  # (B, h'w', 9C)
    soft, hard = torch.bmm(k_patches, q_patches).max(1)  # (B, hw)
    h, w = q.shape[2:]
    textures = []
    for v, s in zip(self.LTE(ref), (4, 2, 1), strict=True):
        window = {"kernel_size": 3 * s, "padding": s, "stride": s}
        patches = F.unfold(v, **window)  # (B, 9 s^2 C, h'w')
        picked = patches.gather(2, hard[:, None].expand(-1, patches.shape[1], -1))
        textures.append(F.fold(picked, (s * h, s * w), **window) / 9)
    t1, t2, t3 = textures
    return ttsr.Attention(hard.view(-1, h, w), soft.view(-1, 1, h, w), t3, t2, t1)


STRAIGHTFORWARD: dict[type[nn.Module], tuple[str, Callable]] = {
    layers.CCA: ("forward", cca),
    layers.RDB: ("forward", rdb),
    rcan.ChannelAttention: ("forward", channel_attention),
    msrn.MSRB: ("forward", msrb),
    ttsr.TTSR: ("attend", attend),
}


def straightforward(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy with the authors' way in place of ours, and the names of what was replaced."""
    rival, replaced = copy.deepcopy(model), set()
    for module in rival.modules():
        if type(module) in STRAIGHTFORWARD:
            method, function = STRAIGHTFORWARD[type(module)]
            setattr(module, method, MethodType(function, module))
            replaced.add(type(module).__name__)
    return rival, sorted(replaced)


@torch.inference_mode()
def compare(name: str, side: int, rounds: int) -> dict:
    model = srkit.create_model(name).eval()
    rival, replaced = straightforward(model)
    lr = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    own = model.memory_format
    other = next(layout for layout in LAYOUTS if layout != own)
    turned = copy.deepcopy(model).to(memory_format=other)
    cases = {
        "srkit": (model.to(memory_format=own), lr.contiguous(memory_format=own)),
        "straightforward": (rival, lr),
        "other layout": (turned, lr.contiguous(memory_format=other)),
    }
    answers = [network(x) for network, x in cases.values()]  # warms up, too
    error = max((y - answers[0]).abs().max() for y in answers[1:]) / answers[0].abs().max()
    if error > 1e-4:
        raise SystemExit(f"{name}: the straightforward network answers differently, by {error:.0e}")
    times = {case: [] for case in cases}
    for turn in range(rounds):
        for case in list(cases)[:: 1 if turn % 2 else -1]:
            network, x = cases[case]
            start = time.process_time()
            network(x)
            times[case].append(time.process_time() - start)

    def ratios(case: str) -> list[float]:
        return [a / b for a, b in zip(times[case], times["srkit"], strict=True)]

    return {
        "network": name,
        "lr": [side, side],
        "memory_format": LAYOUTS[own],
        "written_otherwise": replaced,
        "seconds": round(statistics.median(times["srkit"]), 4),
        "ratio": round(statistics.median(ratios("straightforward")), 3),
        "ratio_spread": [round(f(ratios("straightforward")), 3) for f in (min, max)],
        "layout": round(statistics.median(ratios("other layout")), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS)
    out = Path(__file__).parents[1] / "data/runs/networks.json"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"{'':18}{'LR':>4} {'runs in':15}{'seconds':>8}{'ratio':>7}{'layout':>8}  rival")
    for name in options.only:
        row = compare(name, NETWORKS[name], options.rounds)
        rows.append(row)
        rival = ", ".join(row["written_otherwise"]) or "the same operations"
        print(
            f"{name:18}{row['lr'][0]:4} {row['memory_format']:15}{row['seconds']:8.3f}"
            f"{row['ratio']:7.2f}{row['layout']:8.2f}  {rival}, contiguous",
            flush=True,
        )
    record = {"rounds": options.rounds, "machine": machine(), "rows": rows}
    write_json(record, options.out)


if __name__ == "__main__":
    main()

"""The `srkit` command: the verbs of the package with the same words and defaults.

Exit codes: 0 all went well, 1 something failed, 2 it was asked for wrongly and nothing was begun,
130 stopped by Ctrl-C. What is wrong stands on stderr in one sentence.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from srkit.checks import at_least, check_free, check_place, expanded
from srkit.files import Damaged, json_text

# What one can ask wrongly: a value, or a path with nothing there, with something there, or without
# permission. A damaged file is none of it, nor is a full disk or a network that is away.
ASKED_WRONGLY = (
    ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError,
    PermissionError,
)  # fmt: skip
FAILED = (Damaged, ArithmeticError, MemoryError, OSError, RuntimeError)


class _Commands(TyperGroup):
    """Commands whose refusals end as one sentence on stderr, without a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
            for stream in (sys.stdout, sys.stderr):
                # a name that it cannot show stops nothing
                if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                    stream.reconfigure(errors="backslashreplace")
            try:
                return super().invoke(ctx)
            # kinds of RuntimeError, and a reader such as `head` that went away: typer's to handle
            except (typer.Exit, typer.Abort, BrokenPipeError):
                raise
            except KeyboardInterrupt as error:
                typer.echo("srkit: stopped", err=True)
                raise typer.Exit(130) from error
            except (*FAILED, *ASKED_WRONGLY) as error:
                typer.echo(f"srkit: {str(error) or 'there is not enough memory'}", err=True)
                asked = isinstance(error, ASKED_WRONGLY) and not isinstance(error, Damaged)
                asked |= getattr(error, "errno", None) == errno.ENAMETOOLONG
                raise typer.Exit(2 if asked else 1) from error


app = typer.Typer(
    cls=_Commands,
    help="Image super-resolution: networks, benchmarks, pictures.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
main = app  # the entry point


def _tell_version(asked: bool) -> None:
    if asked:
        import srkit

        typer.echo(f"srkit {srkit.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print it.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    """Image super-resolution: networks, benchmarks, pictures."""


Name = Annotated[
    str,
    typer.Argument(help="A network (rlfn_x4; rlfn --scale 4; esrgan/psnr) or its file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Scale = Annotated[int | None, typer.Option(help="The factor, where the name does not say it.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A kind that `srkit info NAME` lists, or a file. [default: official, else srkit]"
    ),
]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, xpu ...")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]

# Of a training:
Recipe = Annotated[str, typer.Argument(help="A recipe: the name of a chapter's paper.")]
Budget = Annotated[str, typer.Option(help="smoke, laptop, overnight, gpu or paper.")]
Data = Annotated[
    str | None, typer.Option(help="A folder of pictures or a set's name, or some joined by +.")
]
Out = Annotated[Path, typer.Option(help="The folder of all runs.")]
Minutes = Annotated[float | None, typer.Option(help="Of each stage, instead of its steps.")]
TrainingDevice = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps, xpu ...; of one process.")
]
Compiled = Annotated[
    bool,
    typer.Option("--compiled", help="By torch.compile; measure whether it pays."),
]
Resume = Annotated[str, typer.Option(help="auto, or never: refuse a used folder.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Log for it, too.")]
Devices = Annotated[int, typer.Option(help="Processes on this machine, one a GPU.")]
Nodes = Annotated[int, typer.Option(help="Machines; run the command on each.")]
Rendezvous = Annotated[str, typer.Option(help="HOST:PORT of one of the machines.")]


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="A shell pattern or a family.")] = "*",
    scale: Annotated[int | None, typer.Option(help="Only of this factor.")] = None,
    parameters: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    at_hand: Annotated[
        bool, typer.Option("--at-hand", help="Only with weights on this machine.")
    ] = False,
    trained: Annotated[
        bool, typer.Option("--trained", help="Only those that ship with srkit, trained here.")
    ] = False,
    paper: Annotated[str | None, typer.Option(help="Only of this paper: RLFN, ESRGAN ...")] = None,
    as_json: Json = False,
) -> None:
    """List the networks with what helps to choose; of each factor the best on Set5 first."""
    from dataclasses import asdict

    from srkit.viz import tables
    from srkit.weights import choose

    found = choose.networks(
        pattern, scale=scale, parameters=parameters, at_hand=at_hand, trained=trained, paper=paper
    )
    if as_json:
        typer.echo(json_text([asdict(each) for each in found]))
        return
    typer.echo(tables.text(choose.table(found)))
    for line in choose.LEGEND:
        typer.echo(line, err=True)


@app.command()
def info(
    name: Annotated[str | None, typer.Argument(help="A network.")] = None,
    scale: Scale = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe: its stages and its claims.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Of the recipe. Default: the paper's.")
    ] = None,
    budget: Budget = "laptop",
    as_json: Json = False,
) -> None:
    """Tell about a network or a recipe. (About this machine: `srkit doctor`.)"""
    if recipe is not None:
        from srkit.ledger import findings
        from srkit.recipes import recipe as find
        from srkit.viz import tables

        if name is not None:
            raise ValueError(f"a network or a recipe: leave out {name}, or --recipe {recipe}")
        own = find(recipe)
        variant = variant or own.first
        if as_json:
            plans = {each: own.plan(each, budget) for each in own.chain(variant, budget)}
            typer.echo(json_text(plans))
            return
        typer.echo(f"{own.label}, x{own.scale}. Variants: {', '.join(own.variants)}")
        typer.echo(tables.text(own.described(variant, budget), left=True))
        for each in findings([recipe]):
            if variant in (each.claim.of, each.claim.against):
                seeds = ", ".join(map(str, each.finding.seeds)) or "none"
                says = f"\n{each.claim.says} ({each.compared}): {each.ours}"
                typer.echo(f"{says} {each.finding.verdict}; seeds {seeds}")
        return
    if variant is not None:
        raise ValueError(f"--variant {variant} is of a recipe: add --recipe NAME")
    if name is None:
        raise ValueError("name a network or --recipe; `srkit doctor` tells about this machine")
    from dataclasses import asdict

    from srkit.models.zoo import model_info

    entry = model_info(name, scale=scale)
    typer.echo(json_text({"name": entry.name} | asdict(entry)) if as_json else entry)


@app.command()
def doctor(
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Compute the hash of every file: minutes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell what is here, what is missing and how to get it, and whether srkit can work.

    Exit code 1 if something is broken.
    """
    from srkit import doctor

    report = doctor.examine(hashes=hashes)
    typer.echo(json_text(report.facts | {"broken": report.broken}) if as_json else report)
    if report.broken:
        raise typer.Exit(1)


def _device(asked: str | None) -> str:
    """The device that is asked for, if it is here; else the GPU, where there is one."""
    from srkit.devices import find_device

    return str(find_device(asked))


@app.command()
def upscale(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="A network (rlfn_x4; esrgan/psnr) or its file. [default: the best that ships]",
        ),
    ],
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A picture, or a folder of pictures.")
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="The file, or the folder, to write.")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(help="The factor, where the name does not say it. [without a name: 4]"),
    ] = None,
    weights: Weights = None,
    tile: Annotated[
        int | None,
        typer.Option(help="Side of the tiles in LR pixels. [default: 192 above 4 megapixels]"),
    ] = None,
    overlap: Annotated[int | None, typer.Option(help="Of the tiles; measured if left out.")] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Mean over eight flips and turns.")
    ] = False,
    precision: Precision = "auto",
    device: Device = None,
    suffix: Annotated[str | None, typer.Option(help="For a folder: .png, .jpg ...")] = None,
    overwrite: Overwrite = False,
    check_color: Annotated[
        bool, typer.Option("--check-color", help="Reduce the result again; tell the mean shift.")
    ] = False,
) -> None:
    """Enlarge a picture, or every picture of a folder."""
    from srkit import inference
    from srkit.image.io import read_picture

    if target is None:  # two words: it is the network that was left out
        wanted, small, big = None, Path(name), Path(source)
    else:
        wanted, small, big = name, Path(source), Path(target)
    settings = {
        "check_color": check_color, "tile": tile, "overlap": overlap,
        "self_ensemble": self_ensemble, "precision": precision, "device": _device(device),
    }  # fmt: skip
    if wanted is None:
        wanted, weights = _best(small, scale, weights)
    if os.path.isdir(expanded(small)):  # Path's own raises where nothing may be read
        report = inference.upscale_folder(
            _network(wanted, scale, weights), small, big, overwrite=overwrite, suffix=suffix,
            **settings,
        )  # fmt: skip
        typer.echo(report)
    else:
        picture = read_picture(small)
        network = _network(wanted, scale, weights)
        check_free(big, overwrite)
        shift = inference.upscale_file(network, picture, big, **settings)
        report = inference.FolderReport(done={small: big})
        report.shifts = {} if shift is None else {small: shift}
    for small, shift in report.shifts.items():
        levels = ", ".join(f"{c} {x:+.2f}" for c, x in zip("RGB", shift, strict=True))
        typer.echo(f"{report.done[small].name}: mean shift in grey levels of 255: {levels}")
    if report.interrupted:
        raise typer.Exit(130)
    if report.failed:
        raise typer.Exit(1)


@app.command("eval")
def evaluate(
    name: Annotated[str, typer.Argument(help="A network, its file, or bicubic.")],
    data: Annotated[str, typer.Option(help="A data set, or a folder of HR pictures.")] = "Set5",
    scale: Scale = None,
    weights: Weights = None,
    protocol: Annotated[str, typer.Option(help="How the number is made.")] = "classic",
    root: Annotated[Path | None, typer.Option(help="Where the data set is.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many pictures.")] = None,
    lpips: Annotated[str | None, typer.Option(help="LPIPS too, by alex, squeeze or vgg.")] = None,
    precision: Precision = "float32",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """PSNR and SSIM over a benchmark, with the protocol they belong to."""
    from srkit.metrics import evaluate as evaluation

    scores = evaluation.evaluate(
        name if name == "bicubic" else _network(name, scale, weights), data, protocol=protocol,
        scale=scale, root=root, limit=limit, lpips=lpips, precision=precision,
        device=_device(device),
    )  # fmt: skip
    typer.echo(scores.to_json() if as_json else scores)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Data sets (Set5), networks (rlfn_x4).")],
    kind: Annotated[
        str | None,
        typer.Option("--weights", help="Of networks: a kind that `srkit info NAME` lists."),
    ] = None,
) -> None:
    """Find data sets or networks' weights, or download and verify them."""
    from srkit.datasets import catalog
    from srkit.models.zoo import model_info
    from srkit.weights import load as weights

    for name in names:
        if name.lower() in map(str.lower, catalog.CATALOG):
            found = catalog.pictures(name, fetch=True)
            typer.echo(f"{name}: {len(found)} pictures in {found[0].parent}")
        else:
            entry = model_info(name)
            typer.echo(f"{name}: {weights.file_of(entry, kind or entry.usual_weights)}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help=".pth, .caffemodel, .npz, ncnn's .param ...")],
    target: Annotated[Path, typer.Argument(help="The .safetensors to write.")],
    name: Annotated[str | None, typer.Option(help="The network, if the file fits several.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a file of weights as srkit's own, with what is known of it in the header."""
    from srkit.weights.load import load_checkpoint
    from srkit.weights.save import convert

    check_free(target, overwrite)
    check_place(target)
    model = load_checkpoint(convert(source, target, name=name))
    typer.echo(f"{target}: {model.name}")


@app.command()
def export(
    name: Name,
    target: Annotated[Path, typer.Argument(help="The .onnx to write.")],
    scale: Scale = None,
    weights: Weights = None,
    opset: Annotated[int | None, typer.Option(help="ONNX's version of operators.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a network with its weights as ONNX, checked against PyTorch."""
    from srkit.models.zoo import model_info
    from srkit.weights import export
    from srkit.weights.load import file_of
    from srkit.weights.save import origin

    check_free(target, overwrite)
    check_place(target)
    model = _network(name, scale, weights)
    file = name
    if not os.path.isfile(expanded(name)):
        entry = model_info(name, scale=scale)
        file = file_of(entry, weights or entry.usual_weights)
    error = export.export_onnx(model, target, opset=opset, provenance=origin(file))
    typer.echo(f"{target}: {model.name}, {error:.0e} from PyTorch's pictures at most")


@app.command("explain-psnr")
def explain_psnr(
    result: Annotated[Path, typer.Argument(help="The picture to judge.")],
    original: Annotated[Path, typer.Argument(help="The picture it should be.")],
    scale: Annotated[int, typer.Option(help="The factor: it says which borders are usual.")],
    as_json: Json = False,
) -> None:
    """PSNR of two pictures under every usual convention, to recognise a number by."""
    from srkit.image.io import read_image
    from srkit.metrics.explain import explain_psnr as explain

    table = explain(read_image(result), read_image(original), scale=scale)
    typer.echo(json_text(table.rows) if as_json else table)


@app.command()
def degrade(
    source: Annotated[Path, typer.Argument(help="A folder of HR pictures.")],
    target: Annotated[Path, typer.Argument(help="The folder for the LR pictures, NAME.png.")],
    scale: Annotated[int, typer.Option(help="The factor between LR and HR.")],
    how: Annotated[str, typer.Option(help="bicubic, blind (BSRGAN's kind), real (Real-ESRGAN's).")],
    seed: Annotated[int, typer.Option(help="Decides, with a file's name, what is drawn.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write LR pictures of a folder: blur, reduction, noise and JPEG; the equation is printed."""
    from srkit.image import degrade as degradations

    chosen = degradations.preset(how, scale)
    report = degradations.degrade_folder(chosen, source, target, seed=seed, overwrite=overwrite)
    typer.echo(f"{chosen}\n{report}")
    if not report.done:
        raise typer.Exit(1)


@app.command()
def pairs(
    hr: Annotated[Path, typer.Argument(help="A folder of HR pictures.")],
    lr: Annotated[Path, typer.Argument(help="A folder of LR pictures of the same names.")],
    scale: Annotated[int, typer.Option(help="The factor between LR and HR.")],
    rule: Annotated[
        str | None, typer.Option(help="LR's name with {name}, HR's, in it: {name}x4.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Measure all pairs, not 20.")] = False,
    as_json: Json = False,
) -> None:
    """Check pairs before a training: names, sizes, shift, brightness and contrast.

    Exit code 1 where `srkit finetune` would refuse them.
    """
    from dataclasses import asdict

    from srkit.datasets.pairs import match, measured

    found = measured(match(hr, lr, scale, rule=rule), most=None if every else 20)
    if as_json:
        facts = asdict(found) | {"refused": found.refusal(), "warnings": found.warnings()}
        facts["left_out"] = {str(path): why for path, why in found.left_out.items()}
        facts["pairs"] = [[str(pair.hr), str(pair.lr)] for pair in found.pairs]
        typer.echo(json_text(facts | {"hr": str(hr), "lr": str(lr)}))
    else:
        typer.echo(found)
    if found.refusal():
        raise typer.Exit(1)


@app.command()
def train(
    recipe: Recipe,
    variant: Annotated[
        str | None, typer.Option(help="What to train. Default: the paper's own.")
    ] = None,
    budget: Budget = "laptop",
    data: Data = None,
    seed: Annotated[int, typer.Option(help="Decides weights and crops.")] = 0,
    out: Out = Path("runs"),
    minutes: Minutes = None,
    precision: Precision = "auto",
    compiled: Compiled = False,
    device: TrainingDevice = None,
    resume: Resume = "auto",
    tensorboard: TensorBoard = False,
    devices: Devices = 1,
    nodes: Nodes = 1,
    rendezvous: Rendezvous = "localhost:29400",
) -> None:
    """Train a variant of a recipe; what was stopped goes on.

    `srkit info --recipe NAME --variant V` shows its stages, beside the paper's, before it starts.
    """
    from srkit import recipes
    from srkit.reports.card import card

    recipes.recipe(recipe).check(variant, budget)  # before other processes are started
    if _launch(devices, nodes, rendezvous):
        return
    record = recipes.train(
        recipe, variant, budget=budget, data=data, seed=seed, out=out, minutes=minutes,
        precision=precision, compiled=compiled, device=device, resume=resume,
        tensorboard=tensorboard,
    )  # fmt: skip
    if _is_first():
        typer.echo(card(record))


@app.command()
def finetune(
    name: Name,
    hr: Annotated[
        str | None, typer.Option(help="Pictures to learn from: a folder; LR is made of them.")
    ] = None,
    pairs: Annotated[
        tuple[str, str] | None, typer.Option(help="Instead, a folder of HR and one of LR pictures.")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Pictures to measure on. [default: every tenth, held out]")
    ] = None,
    val_pairs: Annotated[
        tuple[str, str] | None, typer.Option(help="Instead, a folder of HR and one of LR pictures.")
    ] = None,
    scale: Scale = None,
    weights: Weights = None,
    degrade: Annotated[
        str | None, typer.Option(help="How LR comes to be: bicubic, blind, real.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(help="Of pairs: LR's name with {name}, HR's, in it.")
    ] = None,
    l1: Annotated[float | None, typer.Option(help="Weight of |sr - hr|. [default: 1]")] = None,
    mse: Annotated[float | None, typer.Option(help="Weight of (sr - hr)².")] = None,
    charbonnier: Annotated[float | None, typer.Option(help="Weight of Charbonnier's loss.")] = None,
    huber: Annotated[float | None, typer.Option(help="Weight of Huber's loss.")] = None,
    tv: Annotated[float | None, typer.Option(help="Weight of total variation.")] = None,
    content: Annotated[
        float | None, typer.Option(help="Weight of VGG's features (ESRGAN).")
    ] = None,
    style: Annotated[float | None, typer.Option(help="Weight of Gram matrices.")] = None,
    lpips: Annotated[float | None, typer.Option(help="Weight of LPIPS.")] = None,
    adversarial: Annotated[
        float | None, typer.Option(help="Weight of the loss against a discriminator.")
    ] = None,
    discriminator: Annotated[
        str, typer.Option(help="Of which paper: esrgan, real-esrgan, srgan, ttsr, ciplab ...")
    ] = "esrgan",
    extractor: Annotated[
        str | None, typer.Option(help="Of content and style: random needs no file. [default: VGG]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="How long. [default: 1000]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Instead of steps.")] = None,
    batch: Annotated[int, typer.Option(help="Crops a step, of all processes together.")] = 16,
    patch: Annotated[int, typer.Option(help="LR pixels a side of a crop.")] = 32,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-4,
    accumulate: Annotated[int, typer.Option(help="Learn a batch in so many parts.")] = 1,
    clip: Annotated[float | None, typer.Option(help="The largest gradient norm.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of an average of the weights.")] = None,
    keep: Annotated[str, typer.Option(help="best, by PSNR on val, or last.")] = "best",
    validate_every: Annotated[int | None, typer.Option(help="Steps between measurements.")] = None,
    run_name: Annotated[
        str | None, typer.Option("--name", help="Of the run. [default: the folder's]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the crops.")] = 0,
    out: Out = Path("runs"),
    precision: Precision = "auto",
    compiled: Compiled = False,
    device: TrainingDevice = None,
    resume: Resume = "auto",
    tensorboard: TensorBoard = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Allow an untrained network with adversarial.")
    ] = False,
    allow_misaligned: Annotated[
        bool, typer.Option("--allow-misaligned", help="Learn from shifted pairs all the same.")
    ] = False,
    devices: Devices = 1,
    nodes: Nodes = 1,
    rendezvous: Rendezvous = "localhost:29400",
) -> None:
    """Let a network go on learning from your pictures; tell whether it helped.

    What was stopped goes on when the same is asked for again; with more steps or minutes a finished
    run is extended.
    """
    if _launch(devices, nodes, rendezvous):
        return
    from srkit.reports.gain import report
    from srkit.training import finetune as tuning

    asked = {
        "l1": l1, "mse": mse, "charbonnier": charbonnier, "huber": huber, "tv": tv,
        "content": content, "style": style, "lpips": lpips, "adversarial": adversarial,
    }  # fmt: skip
    if val is not None and val_pairs is not None:
        raise ValueError("what to measure on: --val or --val-pairs, one of the two")
    record = tuning.finetune(
        name, hr=hr, pairs=pairs, val=val_pairs or val, scale=scale, weights=weights,
        degrade=degrade, rule=rule, discriminator=discriminator, extractor=extractor,
        loss={key: weight for key, weight in asked.items() if weight is not None} or None,
        steps=steps, minutes=minutes, batch=batch, patch=patch, rate=rate, accumulate=accumulate,
        clip=clip, ema=ema, keep=keep, validate_every=validate_every, name=run_name, seed=seed,
        out=out, precision=precision, compiled=compiled, device=device, resume=resume,
        tensorboard=tensorboard, from_scratch=from_scratch, allow_misaligned=allow_misaligned,
    )  # fmt: skip
    if _is_first():
        typer.echo(report(record, tuning.folder_of(out, record.variant, record.budget, seed)))


@app.command()
def reproduce(
    recipe: Recipe,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be given several times.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Default: 0. May be given several times.")
    ] = None,
    as_recorded: Annotated[
        bool,
        typer.Option(
            "--as-recorded",
            help="As the record that srkit ships says; then tell whether the figures are equal.",
        ),
    ] = False,
    budget: Budget = "laptop",
    data: Data = None,
    out: Out = Path("runs"),
    minutes: Minutes = None,
    precision: Precision = "auto",
    compiled: Compiled = False,
    device: TrainingDevice = None,
    resume: Resume = "auto",
    tensorboard: TensorBoard = False,
    devices: Devices = 1,
    nodes: Nodes = 1,
    rendezvous: Rendezvous = "localhost:29400",
) -> None:
    """Train all that a chapter shows, and print its reproduction cards."""
    from srkit import recipes
    from srkit.reports.card import card

    seeds = seed or [0]
    if as_recorded:
        changed = {
            "--data": data, "--minutes": minutes, "--compiled": compiled, "--device": device,
            "--precision": precision != "auto", "--devices": devices * nodes != 1,
        }  # fmt: skip
        if given := ", ".join(name for name, value in changed.items() if value):
            raise ValueError(f"--as-recorded takes these from the record: leave out {given}")
        results = [
            recipes.reproduce_recorded(recipe, v, budget=budget, seed=s, out=out)
            for v in variant or recipes.recipe(recipe).variants
            for s in seeds
        ]
        typer.echo("\n\n".join(map(str, results)))
        if not all(result.equal for result in results):
            raise typer.Exit(1)
        return
    for each in variant or (None,):
        recipes.recipe(recipe).check(each, budget)
    if _launch(devices, nodes, rendezvous):
        return
    found = recipes.reproduce(
        recipe, variants=variant or (), seeds=seeds, budget=budget, data=data, out=out,
        minutes=minutes, precision=precision, compiled=compiled, device=device, resume=resume,
        tensorboard=tensorboard,
    )  # fmt: skip
    if _is_first():
        typer.echo("\n\n".join(str(card(records)) for records in found))


def _is_first() -> bool:
    """Whether this is the first, or the only one, of the processes that train together."""
    return int(os.environ.get("RANK", 0)) == 0


@app.command()
def runs(
    out: Annotated[Path, typer.Argument(help="The folder of runs.")] = Path("runs"),
    plot: Annotated[Path | None, typer.Option(help="PSNR over steps, into this picture.")] = None,
    collect: Annotated[
        Path | None, typer.Option(help="A data folder for the records, a file a recipe.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="A variant whose weights go there, too; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List finished runs; compare them in a picture; gather their records and weights."""
    from srkit import recipes
    from srkit.reports import summary
    from srkit.training.run import find_runs, unfinished_runs

    if plot is not None:
        check_place(plot)
    records, unfinished = find_runs(out), unfinished_runs(out)
    if not records and not unfinished:
        raise ValueError(f"no run under {out}: `srkit train` makes one")
    if collect is not None:
        for path in recipes.collect(out, collect, weights=weights or ()):
            typer.echo(f"wrote {path}", err=True)
    elif weights:
        raise ValueError("weights go with --collect DATA: name the folder")
    if plot is not None:
        summary.plot(records, plot)
    rows = [record.to_json() for record in records]
    typer.echo(json_text(rows) if as_json else summary.summary(records))
    for folder, how_far in unfinished.items():
        typer.echo(f"not finished: {folder}, {how_far}", err=True)


def _launch(devices: int, nodes: int, rendezvous: str) -> bool:
    """Start this very command in several processes, if it asks for them and isn't one of them.

    It is torchrun that starts them, so that `torchrun ... -m srkit train ...` does the same.
    """
    at_least(1, devices=devices, nodes=nodes)
    if nodes > 1:
        _check_address(rendezvous)
    if devices * nodes == 1 or "LOCAL_RANK" in os.environ:
        return False
    where = ["--standalone"]
    if nodes > 1:
        where = ["--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", "--rdzv-id=srkit"]
    command = ["--nnodes", str(nodes), "--nproc-per-node", str(devices), *where, "-m", "srkit"]
    command = [sys.executable, "-m", "torch.distributed.run", *command, *sys.argv[1:]]
    if os.name == "posix":  # in place of this process, so that it is torchrun that signals reach
        os.execv(command[0], command)
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise typer.Exit(ended.returncode)
    return True


def _check_address(rendezvous: str) -> None:
    """Refuse what is no HOST:PORT of a machine that is known here: torchrun would wait for it."""
    import socket

    host, _, port = rendezvous.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(
            f"--rendezvous {rendezvous}: expected HOST:PORT, as in 192.168.0.1:29400 or "
            "localhost:29400"
        )
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except OSError as error:
        raise ValueError(
            f"--rendezvous {rendezvous}: no machine is known as {host} here ({error.strerror}); "
            "name it by its address"
        ) from error


def _best(source: Path, scale: int | None, weights: str | None) -> tuple[str, str]:
    """The best network that ships, and the kind of its weights; says which it is."""
    from srkit.models.zoo import model_info
    from srkit.weights.choose import best

    if weights is not None:
        raise ValueError(f"--weights {weights} is of a network: name it before the picture")
    if not os.path.exists(expanded(source)):
        try:
            entry = model_info(str(source))
        except ValueError:
            raise FileNotFoundError(f"no picture or folder {source}") from None
        raise ValueError(f"{entry.name} is a network: srkit upscale {source} PICTURE RESULT")
    found = best(4 if scale is None else scale)
    typer.echo(
        f"by {found.name}, the best for x{found.scale} that ships ({found.says}); "
        f"another: srkit upscale NAME {source} ..., names: srkit models --scale {found.scale}",
        err=True,
    )
    return found.name, found.weights


def _network(name: str, scale: int | None, weights: str | None):
    """A network with weights, or the one that a file of weights is for."""
    from srkit.models.zoo import model_info
    from srkit.weights.load import create_model, load_checkpoint

    if os.path.isfile(expanded(name)):
        if weights is not None:
            raise ValueError(
                f"--weights {weights} beside the file {name}: the file has the weights, leave "
                "--weights out, or name the network (srkit models) that they are for"
            )
        return load_checkpoint(name, scale=scale)
    usual = model_info(name, scale=scale).usual_weights
    return create_model(name, scale=scale, weights=weights or usual)

"""References: as much alike as their level says, and never a change to the crops themselves."""

import pytest
import torch

from srkit.datasets import procedural
from srkit.datasets.patches import Patches
from srkit.datasets.references import LEVELS, References, elsewhere, groups, symmetry, view
from srkit.image.io import read_image, write_image
from srkit.image.resize import imresize
from srkit.image.tensors import to_8bit

SIZE, SCALE = 8, 4
SIDE = SIZE * SCALE


@pytest.fixture(scope="module")
def pictures():
    return [to_8bit(procedural.dead_leaves((160, 144), seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def marked():
    """Each pixel says where it is: red its row, green its column, blue its picture."""
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(144), indexing="ij")
    return [torch.stack([rows, columns, torch.full_like(rows, k)]).byte() for k in range(3)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetry_of(crop, number):
    """One of the eight, as `Draw` numbers them."""
    crop = crop.flip(-2) if number & 1 else crop
    crop = crop.flip(-1) if number & 2 else crop
    return crop.mT if number & 4 else crop


def places(batch, name):
    """Rows, columns (count, side, side) and the picture of each crop of marked pictures."""
    rows, columns, which = (255 * batch[name]).unbind(1)
    return rows, columns, which.mean((1, 2)).round()


@pytest.mark.parametrize("level", LEVELS)
def test_crops_are_those_of_patches_and_references_of_their_size(pictures, level):
    crops = Patches(pictures, SCALE).batch(4, SIZE, seeded())
    found = References(pictures, level=level).batch(4, SIZE, seeded())
    assert torch.equal(found["lr"], crops["lr"])
    assert torch.equal(found["hr"], crops["hr"])
    assert found["ref"].shape == crops["hr"].shape
    assert found["ref"].dtype == torch.float32
    assert 0 <= found["ref"].min() <= found["ref"].max() <= 1


def test_references_are_turned_on_their_own_or_with_the_crop(pictures):
    """Without a warp the reference is the crop itself, or one of its eight symmetries."""
    found = {}
    for turned in (True, False):
        references = References(pictures, turned=turned)
        references.level = type(LEVELS["L1"])("here")
        found[turned] = references.batch(64, SIZE, seeded())
    alike = {t: (b["ref"] - b["hr"]).abs().amax((1, 2, 3)) < 1e-3 for t, b in found.items()}
    assert torch.equal(found[True]["hr"], found[False]["hr"])
    assert alike[False].all()
    assert 2 <= alike[True].sum() <= 16  # 8 of 64, by chance
    for hr, ref in zip(found[True]["hr"], found[True]["ref"], strict=True):
        ways = [symmetry_of(hr, number) for number in range(8)]
        assert min((ref - way).abs().max() for way in ways) < 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_the_generator_alone_decides_and_shares_are_parts_of_one_batch(pictures, level):
    references = References(pictures, level=level)
    whole = references.batch(6, SIZE, seeded(1))
    torch.manual_seed(9)
    parts = [references.batch(6, SIZE, seeded(1), (i, 2)) for i in range(2)]
    together = torch.stack([part["ref"] for part in parts], 1).flatten(0, 1)
    # within the rounding of an interpolation
    torch.testing.assert_close(together, whole["ref"], atol=1e-6, rtol=0)
    other = references.batch(6, SIZE, seeded(2))
    assert not torch.equal(other["ref"], whole["ref"])


@pytest.mark.parametrize("level", ["L1", "L2"])
def test_near_references_show_the_same_place_within_their_bounds(marked, level):
    bounds = LEVELS[level]
    calm = References(marked, level=level)
    calm.level = type(bounds)("here", bounds.shift, bounds.turn, bounds.zoom)  # no change of light
    batch = calm.batch(200, SIZE, seeded())
    rows, columns, which = places(batch, "hr")
    ref_rows, ref_columns, ref_which = places(batch, "ref")
    assert torch.equal(which, ref_which)
    moves = []
    for one, other, length in ((rows, ref_rows, 160), (columns, ref_columns, 144)):
        middle, ref_middle = one.mean((1, 2)), other.mean((1, 2))
        # where a corner of the view may lie outside, reflections move the mean
        inside = (middle - length / 2).abs() < length / 2 - SIDE * (0.5 + bounds.shift + 0.3)
        moves += (middle - ref_middle).abs()[inside].tolist()
        spans = other.amax((1, 2)) - other.amin((1, 2))
        most = SIDE * bounds.zoom * (1 + bounds.turn / 45)
        assert spans[inside].max() < most
        assert spans[inside].std() > 0.5  # zooms and turns differ
    assert len(moves) > 50
    assert 0.9 * bounds.shift * SIDE < max(moves) < bounds.shift * SIDE + 0.5


def test_light_changes_by_no_more_than_its_bound():
    grey = [torch.full((3, 64, 64), 128, dtype=torch.uint8)]
    refs = References(grey, level="L2").batch(300, SIZE, seeded())["ref"].mean((1, 2, 3))
    change = (refs - 128 / 255).abs()
    bound = 0.2 * (128 / 255) + 0.2 / 2
    assert 0.7 * bound < change.max() <= bound


def test_a_reference_from_elsewhere_does_not_overlap(marked):
    batch = References(marked, level="L3").batch(200, SIZE, seeded())
    rows, columns, which = places(batch, "hr")
    ref_rows, ref_columns, ref_which = places(batch, "ref")
    assert torch.equal(which, ref_which)
    apart = torch.zeros(200, dtype=torch.bool)
    for one, other in ((rows, ref_rows), (columns, ref_columns)):
        low, high = one.amin((1, 2)).round(), one.amax((1, 2)).round()
        apart |= (other.amin((1, 2)).round() > high) | (other.amax((1, 2)).round() < low)
    assert apart.all()


def test_without_room_it_is_the_farthest_corner():
    assert elsewhere(3, 4, 40, 40, 32, 0.9, 0.9) == (8, 8)
    assert elsewhere(5, 4, 40, 40, 32, 0.9, 0.9) == (0, 8)


@pytest.mark.parametrize("at", [0, 10, 31, 32, 60, 96])
def test_elsewhere_finds_all_the_room_there_is(at):
    """A strip of 128 x 32: only rows can be apart."""
    found = {elsewhere(at, 0, 128, 32, 32, u / 1000, 0.5)[0] for u in range(1000)}
    assert found == {row for row in range(97) if abs(row - at) >= 32}


def test_a_reference_from_another_picture_is_never_the_own(marked):
    batch = References(marked, level="L4").batch(200, SIZE, seeded())
    which, ref_which = places(batch, "hr")[2], places(batch, "ref")[2]
    assert (which != ref_which).all()
    pairs = set(zip(which.tolist(), ref_which.tolist(), strict=True))
    assert len(pairs) == 6  # every other one


def test_no_reference_is_the_picture_enlarged(pictures):
    batch = References(pictures, level="LR").batch(3, SIZE, seeded())
    assert torch.equal(batch["ref"], imresize(batch["lr"], SCALE).clamp(0, 1))


def test_likeness_falls_from_level_to_level(pictures):
    """By the best match that the LR crop's blocks find in the reference, made as blurred."""

    def likeness(level):
        batch = References(pictures, level=level).batch(24, SIZE, seeded(3))
        blurred = imresize(imresize(batch["ref"], 1 / SCALE), SCALE)
        enlarged = imresize(batch["lr"], SCALE)
        unfold = torch.nn.Unfold(12, stride=4)
        q, k = (torch.nn.functional.normalize(unfold(x), dim=1) for x in (enlarged, blurred))
        return (q.mT @ k).amax(2).mean().item()

    l1, l2, l3, l4 = (likeness(level) for level in ("L1", "L2", "L3", "L4"))
    assert l1 > l2 > l3 > l4


# views


@pytest.mark.parametrize("number", range(8))
def test_a_view_without_a_warp_is_a_crop_in_one_of_the_symmetries(pictures, number):
    picture = pictures[0]
    seen = view(picture, (20, 30), symmetry(number), SIDE)
    crop = picture[:, 20 : 20 + SIDE, 30 : 30 + SIDE] / 255
    torch.testing.assert_close(seen, symmetry_of(crop, number), atol=2e-4, rtol=0)


def test_a_view_is_turned_about_its_middle(marked):
    """Against the coordinates themselves, which torch's cubic kernel gives to 0.1."""
    angle = torch.tensor(0.3)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    rows, columns, _ = 255 * view(marked[0], (50.5, 40.25), 1.2 * turn, 17)
    for i, j in ((0, 0), (8, 8), (16, 3)):
        y = 50.5 + 8 + 1.2 * (angle.cos() * (i - 8) - angle.sin() * (j - 8))
        x = 40.25 + 8 + 1.2 * (angle.sin() * (i - 8) + angle.cos() * (j - 8))
        assert rows[i, j] == pytest.approx(y.item(), abs=0.1)
        assert columns[i, j] == pytest.approx(x.item(), abs=0.1)


def test_beyond_the_border_a_view_is_reflected(marked):
    rows, *_ = (255 * view(marked[0], (-4, 10), torch.eye(2), 16)).round()
    assert rows[:, 0].tolist() == [4, 3, 2, 1, *range(12)]


# references that come with the pictures


def test_a_given_reference_is_cut_where_the_picture_is(marked):
    given = [picture.clone() for picture in marked]
    for picture in given:
        picture[2] += 100
    batch = References(marked, given).batch(50, SIZE, seeded())
    rows, columns, which = places(batch, "hr")
    ref_rows, ref_columns, ref_which = places(batch, "ref")
    assert torch.equal(ref_which, which + 100)
    torch.testing.assert_close(ref_rows.mean((1, 2)), rows.mean((1, 2)), atol=0.05, rtol=0)
    torch.testing.assert_close(ref_columns.mean((1, 2)), columns.mean((1, 2)), atol=0.05, rtol=0)


def test_groups_of_both_layouts_are_found(tmp_path):
    image = torch.rand(3, 8, 8)
    for name in ("001_0", "001_1", "001_2", "010_0", "010_1"):
        write_image(image, tmp_path / "test" / f"{name}.png")
    for name in ("input/b", "input/a", "ref/a", "ref/b"):
        write_image(image, tmp_path / "train" / f"{name}.png")
    (tmp_path / "test" / "001_3.txt").write_text("no picture")
    test, train = groups(tmp_path / "test"), groups(tmp_path / "train")
    assert [(g.name, g.hr.name, [r.name for r in g.references]) for g in test] == [
        ("001", "001_0.png", ["001_1.png", "001_2.png"]),
        ("010", "010_0.png", ["010_1.png"]),
    ]
    assert [(g.name, [r.parent.name for r in g.references]) for g in train] == [
        ("a", ["ref"]),
        ("b", ["ref"]),
    ]
    (tmp_path / "train" / "ref" / "b.png").unlink()
    with pytest.raises(ValueError, match="train lacks the references of b"):
        groups(tmp_path / "train")
    with pytest.raises(FileNotFoundError, match="holds no pictures NAME_0 with references NAME_1"):
        groups(tmp_path)


def test_cufed_s_training_pairs_are_whole_crops(assets):
    """160 px as published; two of their references are 159 px wide."""
    found = groups(assets("ref_sr/CUFED_train_pairs"))
    assert len(found) == 10
    references = References([g.hr for g in found], [g.references[0] for g in found])
    batch = references.batch(9, 40, seeded())
    assert batch["lr"].shape == (9, 3, 40, 40)
    assert batch["hr"].shape == batch["ref"].shape == (9, 3, 160, 160)


def test_cufed5_s_group_has_five_references(assets):
    (group,) = groups(assets("ref_sr/CUFED5"))
    assert (group.name, len(group.references)) == ("001", 5)
    assert read_image(group.references[3]).shape == (3, 334, 500)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"level": "L5"}, "level 'L5': one of L1, L2, L3, L4, LR"),
        ({"level": "L4"}, "'L4' takes references from another picture: give two or more"),
        ({"given": []}, "0 references for 1 pictures: one for each"),
    ],
)
def test_what_cannot_be_is_told(pictures, how, words):
    with pytest.raises(ValueError, match=words):
        References(pictures[:1], **how)


def test_levels_fall_from_the_same_place_to_another_picture():
    """How far each may lie off: shift in sides, turn in degrees, zoom as a factor, light."""
    assert {name: tuple(vars(level).values()) for name, level in LEVELS.items()} == {
        "L1": ("here", 0.25, 5, 1.05, 0.1),
        "L2": ("here", 0.5, 20, 1.25, 0.2),
        "L3": ("elsewhere", 0, 0, 1, 0),
        "L4": ("other", 0, 0, 1, 0),
        "LR": ("nowhere", 0, 0, 1, 0),
    }

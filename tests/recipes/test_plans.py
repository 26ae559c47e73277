"""What recipes ask for, and what they quote, does not change by a slip of the finger."""

import hashlib
import json
from dataclasses import replace

import pytest

from srkit import recipes
from srkit.calls import as_json

# Copied from papers by hand, and little is computed with most of it. After a change that is meant,
# put the digest here that the test names.
DIGESTS = {
    "srgan": "96a4ddb3f29d",
    "enhancenet": "c0f9c4bd3347",
    "memnet": "ec191627e31c",
    "dbpn": "8ebedbbdfe01",
    "idn": "facbc33f05ff",
    "rdn": "a159e7e7360c",
    "rcan": "336cc52f151b",
    "msrn": "e2e90e2c02d5",
    "carn": "0e7d9a50f3ff",
    "zssr": "e60bdc4697b6",
    "sftgan": "dbf0d69362d6",
    "srfeat": "f23a89a2fd28",
    "esrgan": "1dc1dd131c88",
    "ttsr": "8b34b55a088e",
    "rlfn": "298ec91954ff",
    "ciplab": "7920aa8a4610",
}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_plans_and_quoted_figures_are_what_they_were(name):
    """The stages of every variant in every budget, the published figures, and the claims."""
    recipe = recipes.recipe(name)
    asked = {f"{v}, {b}": recipe.plan(v, b) for v in recipe.variants for b in recipe.budgets}
    claims = [as_json(replace(claim, says="")) for claim in recipe.claims]
    text = json.dumps([asked, as_json(recipe.published), claims], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert digest == DIGESTS[name], f"{name} asks for something else: {digest}, if that is meant"


def test_the_grades_of_srgans_paper():
    """26 people's means on Set5 and Set14: a discriminator is graded higher than MSE alone."""
    from srkit.recipes.srgan import GRADES

    graded = {"mse": (3.37, 2.98), "vgg22": (3.46, 3.15), "gan": (3.77, 3.43),
              "vgg22-gan": (3.78, 3.57), "srgan": (3.58, 3.72)}  # fmt: skip
    assert {name: tuple(sets.values()) for name, sets in GRADES.items()} == graded
    assert {tuple(sets) for sets in GRADES.values()} == {("Set5", "Set14")}
    assert GRADES.keys() - {"mse"} < recipes.recipe("srgan").variants.keys() | {"srgan"}

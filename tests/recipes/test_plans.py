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
    "srgan": "cdb5a84ebea1",
    "enhancenet": "3ffd53b85a9e",
    "memnet": "bf1df024b23c",
    "dbpn": "1d4290e2a900",
    "idn": "76fd813c02bd",
    "rdn": "383fd4334c82",
    "rcan": "84a445a5401b",
    "msrn": "41379711adee",
    "carn": "f819863097f5",
    "zssr": "e60bdc4697b6",
    "sftgan": "227134f67e76",
    "srfeat": "25d71892b645",
    "esrgan": "21a77eed4702",
    "ttsr": "19d75e394110",
    "rlfn": "2754936ed33b",
    "ciplab": "aa10a83ef089",
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

"""A study in which readers choose between two pictures, and what their answers show.

This is two-alternative forced choice (2AFC): two methods' results of one picture stand side by
side, and the reader must choose one. It is easier to choose than to give a mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from math import comb, exp, log, log1p
from pathlib import Path
from typing import Any

from srkit.image.io import ImageLike
from srkit.viz import tables
from srkit.viz.figure import OWN_KEYS, Figure, check_alt, data_uri, encode, panel, to_pil

# `interval`, below, for the browser, line by line.
_INTERVAL = """
function interval(wins, trials, level = 0.95) {
  const logs = [0];
  for (let k = 1; k <= trials; k++) logs.push(logs[k - 1] + Math.log((trials - k + 1) / k));
  const low = wins => {
    if (wins == 0) return 0;
    let [a, b] = [0, 1];
    for (let step = 0; step < 50; step++) {
      const p = (a + b) / 2;
      let tail = 0;
      for (let k = wins; k <= trials; k++)
        tail += Math.exp(logs[k] + k * Math.log(p) + (trials - k) * Math.log1p(-p));
      if (tail < (1 - level) / 2) a = p; else b = p;
    }
    return a;
  };
  return [low(wins), 1 - low(trials - wins)];
}
"""

# The program of the page. `asked` is what `study` was given, `saved` what a reader downloads.
_PROGRAM = """
(() => {
const root = document.currentScript.parentElement, stage = root.querySelector('.stage');
const asked = JSON.parse(root.dataset.study), key = 'srkit-study ' + asked.study;
let saved, keeps = true;

const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const shuffled = list => {
  const copy = [...list];
  for (let k = copy.length - 1; k > 0; k--) {
    const other = Math.floor(Math.random() * (k + 1));
    [copy[k], copy[other]] = [copy[other], copy[k]];
  }
  return copy;
};
const button = (text, act) => element('button', {type: 'button', onclick: act}, text);
const percent = share => (100 * share).toFixed(0) + ' %';

// Each method is on the left equally often; of an odd number of pairs one method, by chance, has
// one more.
function fresh() {
  const methods = shuffled(asked.methods);
  const left = shuffled(asked.pairs.map((_, k) => methods[k % 2]));
  return {
    study: asked.study, question: asked.question, methods: asked.methods,
    reader: Math.random().toString(36).slice(2, 10),
    trials: shuffled(asked.pairs).map((pair, k) =>
      ({pair: pair.name, left: left[k], chosen: null})),
  };
}

function keep() {
  try { localStorage.setItem(key, JSON.stringify(saved)); } catch { keeps = false; }
}

// The answers that this browser kept, if they are about these pairs and methods.
function kept() {
  const of = (methods, names) => JSON.stringify([methods, [...names].sort()]);
  try {
    const found = JSON.parse(localStorage.getItem(key));
    const same = of(found.methods, found.trials.map(trial => trial.pair))
      == of(asked.methods, asked.pairs.map(pair => pair.name));
    return same ? found : null;
  } catch { return null; }
}

function show() {
  const number = saved.trials.findIndex(trial => trial.chosen === null);
  if (number < 0) return result();
  const trial = saved.trials[number];
  const pair = asked.pairs.find(pair => pair.name == trial.pair);
  const sides = asked.methods[0] == trial.left ? [0, 1] : [1, 0];
  const choices = sides.map((method, side) => {
    const words = `${asked.alt}: the ${['left', 'right'][side]} picture of pair ${number + 1}`;
    const choose = event => {
      if (event.detail > 1) return;  // a double click is one answer
      trial.chosen = asked.methods[method];
      keep();
      show();
      root.focus({preventScroll: true});  // where the arrow keys are heard
    };
    return element('button', {type: 'button', onclick: choose}, element('img',
      {className: 'dark-light', alt: words, src: pair.pictures[method], width: asked.width}));
  });
  stage.replaceChildren(
    element('div', {className: 'pair'}, ...choices),
    element('p', {}, `Pair ${number + 1} of ${saved.trials.length}. Choose by a tap, or, once the `
      + 'figure has been tapped, by the arrow keys. Which method made which is told at the end. '
      + (keeps ? 'Your answers stay in this browser.' : 'This browser does not keep answers.')));
}

function result() {
  const [first, second] = asked.methods, trials = saved.trials.length;
  const wins = saved.trials.filter(trial => trial.chosen == first).length;
  const [low, high] = interval(wins, trials);
  let verdict = `The interval holds 50 %: ${trials} answers cannot tell which you prefer.`;
  if (low > 0.5 || high < 0.5)
    verdict = `The interval leaves out 50 %: on such pictures you prefer `
      + `${low > 0.5 ? first : second}.`;
  const rows = saved.trials.map(({pair, left, chosen}) => element('tr', {},
    ...[pair, left, chosen].map(text => element('td', {}, text))));
  const head = ['pair', 'on the left', 'chosen'].map(text => element('th', {}, text));
  stage.replaceChildren(
    element('p', {className: 'result'}, element('b', {},
      `${first} was chosen in ${wins} of ${trials} pairs, ${second} in ${trials - wins}.`)),
    element('p', {}, `${first}: ${percent(wins / trials)}, 95 % interval `
      + `${percent(low)} to ${percent(high)}. ${verdict} It is one reader's answer, about these `
      + 'pictures; another may choose otherwise.'),
    element('details', {}, element('summary', {}, 'Pair by pair'),
      element('table', {}, element('thead', {}, element('tr', {}, ...head)),
        element('tbody', {}, ...rows))),
    element('p', {className: 'actions'},
      button('Download answers', () => {
        const file = new Blob([JSON.stringify(saved, null, 1)], {type: 'application/json'});
        const href = URL.createObjectURL(file);
        element('a', {href, download: `${asked.study}-${saved.reader}.json`}).click();
        setTimeout(() => URL.revokeObjectURL(href), 1000);
      }),
      button('Start again', () => { saved = fresh(); keep(); show(); })));
}

root.addEventListener('keydown', event => {
  const side = ['ArrowLeft', 'ArrowRight'].indexOf(event.key);
  const choice = stage.querySelectorAll('.pair button')[side];
  if (!choice || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  choice.click();
});
saved = kept() ?? fresh();
show();
})();
"""

_CSS = """
.srkit-study {margin: 0 0 1rem; max-width: 100%}
.srkit-study p {margin: .4em 0}
.srkit-study:focus {outline: none}
.srkit-study .pair {display: flex; gap: 8px}
.srkit-study .pair button {padding: 0; min-width: 0; border: 3px solid transparent;
  background: none; cursor: pointer}
.srkit-study .pair button:is(:hover, :focus-visible) {border-color: #0072b2}
.srkit-study .pair img {display: block; max-width: 100%; height: auto; margin: 0; filter: none}
.srkit-study .actions button {font: inherit; color: inherit; background: transparent;
  border: 1px solid currentColor; border-radius: 4px; padding: .2em .6em; margin-right: .6em}
"""


def study(
    pairs: Mapping[str, Mapping[str, ImageLike]],
    *,
    question: str,
    name: str,
    alt: str,
    zoom: int | None = None,
) -> Figure:
    """A blind choice between two methods, picture by picture, made in the page itself.

    pairs: {picture: {method: image, other method: image}}, the same two methods and one size
    throughout. question: what the reader is asked, e.g. "Which looks more like a photograph?".
    name: the study's, in the browser's storage and in the name of the downloaded file.
    alt: what the pictures show, without a word on which method is which.
    zoom: shows images as PNG with nearest-neighbour pixels; None as JPEG in their own size.

    Each reader gets the pairs in another order, and each method equally often on the left. No
    method's name is shown before the last answer (the page's source contains them). The browser
    keeps the answers after each choice. At the end the page shows the share of the first method
    with its exact 95 % interval, and offers the file that `read_study` reads.

    Raises ValueError for an empty alt, an alt or a question that names a method, no pairs, more or
    fewer than two methods, sizes that differ, or a name that no file can have; and what `as_image`
    raises.
    """
    check_alt(alt)
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"name={name!r}: give letters, digits and dashes, it will name a file")
    methods = _methods(pairs)
    if told := [m for m in methods if re.search(rf"\b{re.escape(m)}\b", f"{alt} {question}")]:
        raise ValueError(f"alt or question name {told[0]!r}, so the study would not be blind")
    shown = {pair: [to_pil(images[m]) for m in methods] for pair, images in pairs.items()}
    sizes = {pair: {picture.size for picture in two} for pair, two in shown.items()}
    if len(set.union(*sizes.values())) > 1:
        raise ValueError(f"all pictures of a study must have one size (width, height), got {sizes}")
    kind = "png" if zoom else "jpeg"
    first = next(iter(shown.values()))
    asked = {
        "study": name,
        "question": question,
        "alt": alt,
        "methods": methods,
        "width": first[0].width * (zoom or 1),
        "pairs": [
            {"name": pair, "pictures": [data_uri(encode(picture, kind)) for picture in two]}
            for pair, two in shown.items()
        ],
    }
    look = ".srkit-study .pair img {image-rendering: pixelated}" if zoom else ""
    html = (
        f"<style>{_CSS}{look}</style>"
        f'<figure class="srkit-figure srkit-study" role="group" aria-label="{escape(alt)}" '
        f'tabindex="-1" {OWN_KEYS} data-study="{escape(json.dumps(asked))}">'
        f"<p><b>{escape(question)}</b></p>"
        '<div class="stage">Here stand two pictures to choose from, where scripts may run '
        "(in JupyterLab: in a notebook that is trusted).</div>"
        f"<script>{_INTERVAL}{_PROGRAM}</script></figure>"
    )
    return Figure(html, panel([list(zip(("one", "the other"), first, strict=True))], kind), alt)


def _methods(pairs: Mapping[str, Mapping[str, ImageLike]]) -> list[str]:
    """The names of the two methods. Raises ValueError unless every pair is of the same two."""
    if not pairs:
        raise ValueError("study got no pairs: give {'chelsea': {'method': image, 'other': image}}")
    methods = list(next(iter(pairs.values())))
    if len(methods) != 2:
        raise ValueError(
            f"a study is between two methods, got {len(methods)} ({', '.join(methods)}): "
            "make one study for each two"
        )
    for pair, images in pairs.items():
        if set(images) != set(methods):
            raise ValueError(f"pair {pair!r} is of {list(images)}, the first one of {methods}")
    return methods


@dataclass(frozen=True)
class Study:
    """The answers of one or more readers. Printed, it is a table.

    The intervals treat all answers as independent. One reader's answers show what this reader
    prefers. Many readers' answers about few pairs do not show what people prefer on other pictures.
    """

    name: str
    question: str
    methods: tuple[str, str]
    pairs: dict[str, tuple[int, int]]  # how often the first method was chosen, of how many answers
    readers: int

    @property
    def wins(self) -> int:
        """How often the first method was chosen."""
        return sum(wins for wins, _ in self.pairs.values())

    @property
    def trials(self) -> int:
        """The number of answers."""
        return sum(trials for _, trials in self.pairs.values())

    @property
    def preference(self) -> float:
        """The share of the answers that chose the first method."""
        return self.wins / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of `preference`."""
        return interval(self.wins, self.trials)

    @property
    def rows(self) -> list[list[str]]:
        """The table: a head, a row for each pair, and one for all."""
        first, second = self.methods
        rows = [["pair", first, second, f"share of {first}", "95 % interval"]]
        for pair, (wins, trials) in {**self.pairs, "all": (self.wins, self.trials)}.items():
            low, high = interval(wins, trials)
            rows.append([pair, str(wins), str(trials - wins), f"{wins / trials:.0%}"])
            rows[-1].append(f"{low:.0%} to {high:.0%}")
        return rows

    @property
    def title(self) -> str:
        """The question, the number of readers and answers, and whether the answers are too few."""
        low, high = self.interval
        verdict = ": too few answers to tell which is preferred" if low <= 0.5 <= high else ""
        return f"{self.question} Readers: {self.readers}, answers: {self.trials}{verdict}"

    def __str__(self) -> str:
        return f"{self.title}\n{tables.text(self.rows)}"

    def _repr_html_(self) -> str:
        return tables.html(self.rows, [self.title])


def read_study(paths: str | Path | Sequence[str | Path]) -> Study:
    """All answers in the files that readers of one study downloaded.

    paths: one file or several.

    Raises ValueError for no files, a file of another kind, files of different studies, or two
    files of one reader; FileNotFoundError for a file that does not exist.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise ValueError("read_study got no files: give the JSON files that readers downloaded")
    found = [_answers(Path(path)) for path in listed]
    first = found[0]
    one, other = first["methods"]
    pairs: dict[str, tuple[int, int]] = {}
    for path, answers in zip(listed, found, strict=True):
        for what in ("study", "methods"):
            if answers[what] != first[what]:
                raise ValueError(
                    f"{Path(path).name} is of {what} {answers[what]!r}, the first file of "
                    f"{first[what]!r}: pool one study's answers only"
                )
        for trial in answers["trials"]:
            wins, trials = pairs.get(trial["pair"], (0, 0))
            pairs[trial["pair"]] = (wins + (trial["chosen"] == one), trials + 1)
    readers = {answers["reader"] for answers in found}
    if len(readers) < len(listed):
        raise ValueError(
            f"{len(listed)} files of {len(readers)} readers: give each reader's answers once"
        )
    pairs = dict(sorted(pairs.items()))
    return Study(first["study"], first["question"], (one, other), pairs, len(readers))


def _answers(path: Path) -> dict[str, Any]:
    """One reader's file. Raises ValueError for anything else."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        answers = json.loads(path.read_text(encoding="utf-8"))
        chosen = {trial["chosen"] for trial in answers["trials"]}
        whole = bool(chosen) and chosen <= set(answers["methods"])
        whole &= len(answers["methods"]) == 2 and all(trial["pair"] for trial in answers["trials"])
        if whole and {"study", "question", "reader"} <= answers.keys():
            return answers
    raise ValueError(
        f"{path.name} holds no finished answers: give the file that 'Download answers' saved"
    )


def interval(wins: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact confidence interval (Clopper and Pearson, 1934) of the share wins / trials.

    Its lower end is the share p for which `wins` or more has the probability (1 - level) / 2; its
    upper end is the p for which `wins` or fewer has it. In repeated studies at least the share
    `level` of such intervals contains the true share.

    Raises ValueError unless 0 <= wins <= trials and 0 < level < 1.
    """
    if not 0 <= wins <= trials:
        raise ValueError(f"{wins} wins of {trials} trials: expected 0 <= wins <= trials")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: expected a share such as 0.95")
    logs = [log(comb(trials, k)) for k in range(trials + 1)]

    def low(wins: int) -> float:
        if wins == 0:
            return 0.0
        a, b = 0.0, 1.0
        for _ in range(50):  # halve [a, b]
            p = (a + b) / 2
            chances = (
                exp(logs[k] + k * log(p) + (trials - k) * log1p(-p))
                for k in range(wins, trials + 1)
            )
            a, b = (p, b) if sum(chances) < (1 - level) / 2 else (a, p)
        return a

    return low(wins), 1 - low(trials - wins)

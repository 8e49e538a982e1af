"""The report: complete with everything, useful with little, and safe with any text."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hvd_nowcast.errors import RunFolderError
from hvd_nowcast.report import write_report
from hvd_nowcast.report.html import facts_table, missing
from hvd_nowcast.report.tables import METRICS, score_tables
from hvd_nowcast.verification.evaluation import Evaluation, Setting
from hvd_nowcast.verification.example import Example

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "hr"}
SOURCES = ("model", "persistence")


class Balanced(HTMLParser):
    """Fails when tags are not closed in order; collects the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read_page(path):
    parser = Balanced()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return " ".join(parser.text)


def scores():
    setting = Setting("rain_rate", "mm h-1", (0.1, 1.0), (30.0, 60.0), 1000.0, (16, 16), 0.1)
    generator = np.random.default_rng(0)
    observed = generator.gamma(0.5, 2.0, (2, 16, 16))
    fields = {"model": observed * 0.9, "persistence": generator.gamma(0.5, 2.0, (2, 16, 16))}
    start = Example(np.datetime64("2020-06-01T12:00:00"), observed[0], observed, fields, 9)
    empty = Evaluation.zero(setting, "test", SOURCES, spectra=False)
    plain = empty.update(fields, observed).with_start(start).to_json()
    plain["spectra"]["ratio"] = {"model": {"4km": [0.5, 0.25]}}
    plain["spectra"]["lead_minutes"] = [30, 60]
    return plain


def make_run(folder, **files):
    folder.mkdir()
    (folder / "config.yaml").write_text("data:\n  shards: here\n")
    for name, content in files.items():
        path = folder / name.replace("_json", ".json")
        path.write_text(json.dumps(content))
    return folder


def score_table_of(metric, **values):
    plain = {
        "scores": {source: {metric: {"1.0": numbers}} for source, numbers in values.items()},
        "units": "mm h-1",
        "lead_minutes": list(range(5, 5 * len(values["model"]) + 1, 5)),
    }
    return "".join(score_tables(metric, plain))


def marked(table):
    """Places of the marked cells, row by row."""
    rows = re.findall(r"<tr><th>\d+ min</th>(.*?)</tr>", table)
    return [["best" in cell for cell in re.findall(r"<td[^>]*>", row)] for row in rows]


def test_complete_run(tmp_path):
    final = {"parameters": 812345, "steps": 3000, "training_seconds": 421.0}
    final |= {"samples_per_second": 57.3, "best_loss": 0.2, "unheard_of": 7}
    versions = {"python": "3.11.2", "libraries": {"numpy": "2.0.2"}}
    run = make_run(
        tmp_path / "run",
        scores_json=scores(),
        final_json=final,
        versions_json=versions,
        git_json={"commit": "abcdef", "changed": ["a.py", "b.py"]},
    )
    (run / "figures").mkdir()
    for name in ("scores", "maps", "performance", "spectra", "training", "worst"):
        (run / "figures" / f"{name}.png").write_bytes(PIXEL)
    path = write_report(run)
    assert path == run / "report.html"
    text = read_page(path)
    for expected in (
        "812,345 parameters", "57.3 samples/s", "421 s", "unheard_of", "shards: here",
        "numpy 2.0.2", "a.py, b.py", "pooled over all starts", "CSI at 1 mm/h: after 30 min model",
        "≥ 1 mm/h", "Fractions skill score (FSS), 5km window",
        "Worst starts: CSI at 1 mm/h", "2020-06-01 12:00", "furthest behind persistence",
        "at 60 min: 1 is as sharp", "0.250",
    ):  # fmt: skip
        assert expected in text
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 6
    assert "Made by" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_bare_run_says_what_makes_the_rest(tmp_path):
    text = read_page(write_report(make_run(tmp_path / "run")))
    assert text.count("hvd-nowcast evaluate") == 5
    assert "--resume" in text
    assert "There are no scores yet." in text


def test_training_curves_are_drawn_from_the_metrics(tmp_path):
    pytest.importorskip("matplotlib")
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "learning_rate": 0.1}\n')
    assert "data:image/png" in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("harm", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_text_of_files_stays_text(tmp_path, harm):
    run = make_run(
        tmp_path / "run",
        final_json={harm: harm},
        versions_json={"a": [harm]},
        scores_json=scores() | {"split": harm},
    )
    (run / "config.yaml").write_text(harm)
    page = write_report(run).read_text(encoding="utf-8")
    assert harm not in page
    assert "<script" not in page


@pytest.mark.parametrize("name", ["scores.json", "final.json", "versions.json"])
def test_damaged_file_is_named(tmp_path, name):
    run = make_run(tmp_path / "run")
    (run / name).write_text('{"half')
    with pytest.raises(RunFolderError, match=f"{name}.*make it again"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match=r"no config\.yaml"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("metric", "model", "persistence", "expected"),
    [
        ("csi", [0.5], [0.4], [[True, False]]),
        ("mae", [0.5], [0.4], [[False, True]]),
        ("bias", [1.3], [0.8], [[False, True]]),
        ("csi", [0.5, 0.1], [0.5, 0.2], [[True, True], [False, True]]),
        ("csi", [None], [0.2], [[False, True]]),
        ("csi", [None], [None], [[False, False]]),
        ("csi", [0.50004], [0.50001], [[True, True]]),
    ],
    ids=["high", "low", "near one", "tie", "undefined", "all undefined", "alike as shown"],
)
def test_best_of_a_row(metric, model, persistence, expected):
    assert marked(score_table_of(metric, model=model, persistence=persistence)) == expected


def test_every_metric_of_an_evaluation_has_a_table():
    assert set(METRICS) == set(scores()["scores"]["model"])


def test_nested_facts_and_commands_are_escaped():
    assert "<b>" not in facts_table({"<b>": {"<b>": ["<b>"]}}) + missing("<b>", "<b>")

"""The page: whole, well-formed, and in need of nothing from elsewhere."""

from __future__ import annotations

import re
from html import escape as html_escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from benchmarks.report.html import render_html
from benchmarks.study.record import Cell, Study
from tests.benchmarks.report import studies


def escape(text: str) -> str:
    """As Jinja has it."""
    return html_escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


VOID = {"meta", "br"}
SOME = ("uniform", "blocked-worker", "few-clients")
AXES = {
    "curves": ("percentile", "latency"),
    "workers": ("workers, most connections first", "times the fair share"),
    "heatmap": ("p99 ÷ best of the workload",),
    "picks": ("members to pick from", "time of one pick"),
}


class Balance(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.refers += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.refers += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balance:
    balance = Balance()
    balance.feed(page)
    balance.close()
    assert balance.open == []
    return balance


@pytest.fixture(scope="module")
def whole() -> Study:
    """Everything that a page can have, of one load, to be quick."""
    study = studies.policies(workloads=SOME, loads=(0.7,))
    study.picks = studies.picks()
    return study


@pytest.fixture(scope="module")
def page(whole: Study) -> str:
    return render_html(whole)


def test_it_is_well_formed_and_refers_to_nothing_outside(page: str) -> None:
    assert all(refers.startswith("#") for refers in parsed(page).refers)
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_plot_is_xml_with_labelled_axes_and_a_name(page: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 1 + 2 * len(SOME) + 1
    for plot in plots:
        root = ElementTree.fromstring(plot.replace("xlink:href", "href"))
        kind = re.search(r'id="(curves|workers|heatmap|picks)', plot)
        assert kind is not None
        assert root.get("aria-label")
        text = " ".join(plot.split())
        for label in AXES[kind[1]]:
            assert label in text, (kind[1], label)


def test_ids_are_unique(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_it_says_what_was_measured_where_and_how_to_repeat_it(whole: Study, page: str) -> None:
    for subject in studies.POLICIES:
        assert page.count(subject) > 3
    for workload in SOME:
        assert f'id="{workload}"' in page
    assert str(whole.machine["cpu"]) in page
    assert "python -m benchmarks policies" in page


def test_the_same_study_gives_the_same_page(whole: Study, page: str) -> None:
    assert render_html(whole) == page


def test_awkward_ones_say_what_is_wrong_with_them() -> None:
    study = studies.awkward()
    text = render_html(study)
    parsed(text)
    for cell in study.cells:
        if cell.missing:
            assert escape(cell.missing.splitlines()[0]) in text
        for sample in cell.samples:
            assert escape(sample.saturated) in text


def test_whatever_a_name_contains_is_text() -> None:
    study = studies.policies(("round-robin",), ("uniform",), (0.7,))
    study.cells.append(Cell("<b>&", "uniform", 0.7, missing="<script>alert(1)</script>"))
    study.notes.append("<img src=x>")
    text = render_html(study)
    parsed(text)
    assert "<script" not in text
    assert "<img" not in text


def test_a_thousand_workers_are_drawn_in_groups() -> None:
    assert "1,000 in 32 groups" in render_html(studies.many_workers())


def test_two_studies_are_compared() -> None:
    names = ("round-robin", "shared"), ("uniform",), (0.7,)
    text = render_html(studies.policies(*names), studies.policies(*names, seed=2, better=2.0))
    parsed(text)
    assert "Two studies" in text
    assert "B ÷ A" in text

"""The report of a run: one HTML file that needs no network and no other file.

Style, scripts, plots and motions are inside the page, which also forbids itself to load anything.
"""

from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from adaptpose import report_sections as sections
from adaptpose.report_content import Credit, ExampleMotion, GalleryMotion, ReportContent
from adaptpose.store import write_bytes
from adaptpose.version import __version__

__all__ = ["Credit", "ExampleMotion", "GalleryMotion", "ReportContent", "render", "write_report"]

_SECTIONS: tuple[tuple[str, str, Callable[[ReportContent], str]], ...] = (
    ("results", "Results", sections.results_section),
    ("examples", "Examples", sections.examples_section),
    ("training", "Training", sections.training_section),
    ("cameras", "Cameras and 2D poses", sections.cameras_section),
    ("gallery", "Generated motions", sections.gallery_section),
    ("selection", "Selection", sections.selection_section),
    ("notes", "Notes", sections.notes_section),
    ("credits", "Licences", sections.credits_section),
    ("run", "Run", sections.run_section),
)
_MISSED = ("results", "examples", "training", "cameras", "gallery", "selection")
"""Sections whose absence a reader would wonder about."""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report to `path`, atomically; DataError if it cannot be written."""
    write_bytes(path, render(content).encode())


def render(content: ReportContent) -> str:
    """The report as HTML; parts without content are left out and named at the end."""
    parts = [(name, title, make(content)) for name, title, make in _SECTIONS]
    links = [f'<a href="#{name}">{escape(title)}</a>' for name, title, html in parts if html]
    missed = [name for name in _MISSED if name not in content.without]
    absent = [title.lower() for name, title, html in parts if not html and name in missed]
    template = Template(_resource("report_template.html"))
    return template.substitute(
        title=escape(content.title),
        style=_resource("report_style.css"),
        badge=_synthetic_badge(content),
        summary=f'<p class="lead">{escape(content.summary)}</p>' if content.summary else "",
        tiles=sections.summary_tiles(content),
        links="".join(links),
        body="".join(html for _, _, html in parts),
        absent=f"<p>Not in this report, for want of data: {', '.join(absent)}.</p>"
        if absent
        else "",
        version=escape(__version__),
        viewer=_resource("report_viewer.js"),
        page=_resource("report_page.js"),
    )


def _synthetic_badge(content: ReportContent) -> str:
    named = list(content.synthetic)
    named += [str(e["dataset"]) for e in content.evaluations.values() if e.get("synthetic")]
    if not named:
        return ""
    names = escape(", ".join(dict.fromkeys(named)))
    return f'<p class="badge">synthetic data: {names} (no person performed these motions)</p>'


def _resource(name: str) -> str:
    return files("adaptpose").joinpath(name).read_text(encoding="utf-8")

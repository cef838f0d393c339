"""The report: one file without outside references, valid data inside, safe text."""

import base64
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptpose import report_motion
from adaptpose.camera import look_at, pinhole, project, world_to_camera
from adaptpose.clips import Clip3D, PoseData
from adaptpose.errors import DataError
from adaptpose.evaluate import EvalOptions, evaluate_predictions
from adaptpose.report import (
    Credit,
    ExampleMotion,
    GalleryMotion,
    ReportContent,
    render,
    write_report,
)
from adaptpose.report_motion import example_data, gallery_data
from adaptpose.report_tables import figures, number, overview_table, settings_table
from adaptpose.skeleton import H36M_16, H36M_17
from adaptpose.viewpoint import world_up_in_camera

HOSTILE = '</title><script>alert("x")</script>&<img src=http://evil onerror=1>'
VOID = {"meta", "img", "br", "input", "link", "hr"}


class _Page(HTMLParser):
    """Collects elements and JSON blocks, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.json: dict[str, str] = {}
        self._open: list[str] = []
        self._id: str | None = None
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script" and dict(attrs).get("type") == "application/json":
            self._id = dict(attrs)["id"]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        self._id = None

    def handle_data(self, data):
        if self._id:
            self.json[self._id] = self.json.get(self._id, "") + data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def _poses(seed: int, frames: int = 9, joints: int = 17) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, joints, 3, generator=generator) + torch.tensor([0.0, 0.0, 8.0])


def _evaluations(name: str = "made-up") -> dict[str, dict]:
    clips = []
    for seed, action in enumerate(("walk", "sit", "walk")):
        pose = _poses(seed)
        clips.append(
            Clip3D("P1", action, "c0", 50.0, (1000, 1000), project(pose, pinhole(2.0)),
                   torch.ones(9, 17), torch.ones(9, dtype=torch.bool), pose, pinhole(2.0),
                   torch.eye(4))
        )  # fmt: skip
    data = PoseData(name, H36M_17, tuple(clips), True, licence="CC0 & more")
    options = EvalOptions(bootstrap_samples=20)
    worse = [clip.pose3d_cam * 1.3 for clip in clips]
    better = [clip.pose3d_cam * 1.1 for clip in clips]
    return {
        "source-only": evaluate_predictions(worse, data, options).to_json(),
        "adapted": evaluate_predictions(better, data, options).to_json(),
    }


def _full_content(title: str = "Source to target") -> ReportContent:
    example = ExampleMotion(title, 50, H36M_17, _poses(1), _poses(2), _poses(3),
                            _poses(4)[..., :2] / 4)  # fmt: skip
    blind = ExampleMotion("blind", 25.0, H36M_16, None, _poses(2, 5, 16), _poses(3, 5, 16))
    rng = np.random.default_rng(0)
    camera = {"azimuth_deg": rng.uniform(-180, 180, 50), "depth_m": torch.linspace(3, 5, 50)}
    return ReportContent(
        title=title,
        summary=title,
        synthetic=(title,),
        run_info={title: {"strides": [2, 5], "seed": 0, "commit": None}},
        curves=[{"stage": title, "epoch": e, "g_loss": 1.0 / e} for e in (1, 2)],
        evaluations=_evaluations(title),
        examples=[example, blind],
        gallery=[GalleryMotion(title, H36M_17, 50.0, _poses(5), _poses(6).numpy())],
        cameras={title: camera, "target": camera},
        keypoints={title: _poses(7)[..., :2] / 4},
        selection=[{title: 3, "kept": 5}],
        credits=[Credit(title, title, title)],
        notes=[title],
    )


@pytest.fixture(scope="module")
def page_text() -> str:
    return render(_full_content())


def test_nothing_is_loaded_from_outside(page_text):
    page = _Page(page_text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:image/png;base64,"))
    assert "http://" not in page_text
    assert "https://" not in page_text
    assert "url(" not in page_text
    assert "@import" not in page_text
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy[0].startswith("default-src 'none'")


def test_every_image_is_a_png_with_words_for_it(page_text):
    images = _Page(page_text).all("img")
    assert len(images) == 6
    for image in images:
        assert len(image["alt"]) > 15
        data = base64.b64decode(image["src"].split(",", 1)[1], validate=True)
        assert data.startswith(b"\x89PNG")


def test_links_lead_to_sections_and_ids_are_unique(page_text):
    page = _Page(page_text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert {figure["data-motion"] for figure in page.all("figure") if "data-motion" in figure} == {
        "examples-0", "examples-1", "gallery-0",
    }  # fmt: skip


def _decode(layer: dict) -> np.ndarray:
    whole = np.frombuffer(base64.b64decode(layer["data"]), "<i2").astype(float)
    whole[whole == report_motion.MISSING] = math.nan
    return whole * layer["step"]


def test_embedded_motions_come_back_to_half_a_millimetre(page_text):
    found = {name: json.loads(text) for name, text in _Page(page_text).json.items()}
    motion = found["examples-0"]
    assert (motion["frames"], motion["joints"], motion["rate_hz"]) == (9, 17, 50.0)
    assert [layer["role"] for layer in motion["layers"]] == ["before", "after", "truth"]
    truth = _poses(1) - _poses(1)[:, :1]
    np.testing.assert_allclose(
        _decode(motion["layers"][2]).reshape(9, 17, 3), truth.numpy(), atol=5.01e-4
    )
    image = _decode(motion["image"]).reshape(9, 17, 2)
    np.testing.assert_allclose(image, _poses(4)[..., :2].numpy() / 4, atol=5.01e-5)
    sides = {H36M_17.joints[child]: side for _, child, side in motion["bones"]}
    assert (sides["left_knee"], sides["right_wrist"], sides["head"]) == ("left", "right", "middle")
    assert [layer["role"] for layer in found["examples-1"]["layers"]] == ["before", "after"]
    generated = _decode(found["gallery-0"]["layers"][1]).reshape(9, 17, 3)
    expected = _poses(6) - _poses(6)[:, 0].mean(dim=0)
    np.testing.assert_allclose(generated, expected.numpy(), atol=5.01e-4)


@pytest.mark.parametrize("pitch_deg", [-35.0, 0.0, 20.0, 89.9, 90.0, -90.0])
@pytest.mark.parametrize("roll_deg", [0.0, -12.0, 70.0, 170.0])
def test_upright_motions_seen_from_their_camera_are_as_they_were_given(pitch_deg, roll_deg):
    world = _poses(8)
    eye = world[:, 0].mean(dim=0)
    rise = math.radians(pitch_deg)
    ahead = torch.tensor([math.cos(rise), 0.0, -math.sin(rise)])
    T_cam_world = look_at(eye, eye + ahead, math.radians(roll_deg))
    shown = world_to_camera(world, T_cam_world)
    up = world_up_in_camera(T_cam_world)
    layer = example_data(ExampleMotion("x", 50, H36M_17, None, shown, shown, up_cam=up), ("", ""))
    level = _decode(layer["layers"][0]).reshape(9, 17, 3)
    # Upright: the second coordinate is the world's height, downwards.
    height = (world - world[:, :1])[..., 2].numpy()
    np.testing.assert_allclose(level[..., 1], -height, atol=2e-3)
    # The viewer's formula, with the camera's pitch and roll.
    pitch, roll = layer["layers"][0]["camera"]["pitch"], layer["layers"][0]["camera"]["roll"]
    x, y, z = level[..., 0], level[..., 1], level[..., 2]
    down = math.cos(pitch) * y - math.sin(pitch) * z
    away = math.cos(pitch) * z + math.sin(pitch) * y
    right = math.cos(roll) * x + math.sin(roll) * down
    below = math.cos(roll) * down - math.sin(roll) * x
    expected = (shown - shown[:, :1]).numpy()
    np.testing.assert_allclose(np.stack([right, below, away], -1), expected, atol=2e-3)


def test_a_moving_cameras_motion_is_level_in_every_frame():
    world = _poses(9)
    turn = torch.linspace(-0.5, 0.5, 9)
    ahead = torch.stack([torch.cos(turn), torch.zeros(9), torch.sin(turn)], dim=-1)
    T_cam_world = look_at(torch.zeros(9, 3), ahead, turn)
    shown = world_to_camera(world, T_cam_world)
    motion = GalleryMotion("x", H36M_17, 50, shown, shown, world_up_in_camera(T_cam_world))
    source, generated = gallery_data(motion)["layers"]
    level = _decode(source).reshape(9, 17, 3)
    height = world[..., 2] - world[:, :1, 2]
    np.testing.assert_allclose(level[:, :1, 1] - level[..., 1], height.numpy(), atol=2e-3)
    assert "camera" not in generated


def test_far_and_missing_coordinates_survive():
    values = np.array([-100.0, 0.25, math.nan, 99.0, math.inf])
    layer = report_motion.encode(values, 1e-3)
    back = _decode(layer)
    np.testing.assert_allclose(back[[0, 1, 3]], values[[0, 1, 3]], atol=layer["step"] / 2 + 1e-9)
    assert np.isnan(back[[2, 4]]).all()
    assert np.isnan(_decode(report_motion.encode(np.full(3, math.nan), 1e-3))).all()


def test_hostile_text_stays_text():
    text = render(_full_content(HOSTILE))
    page = _Page(text)
    assert [a for a in page.all("script") if "type" not in a] == [{}, {}]
    assert not any(image["src"].startswith("http") for image in page.all("img"))
    assert "<script>alert" not in text
    assert "<img src=http" not in text
    assert "&lt;/title&gt;&lt;script&gt;" in text
    assert json.loads(page.json["examples-0"])["title"] == HOSTILE


def test_text_with_template_signs_is_kept():
    assert "costs $5 and ${title}" in render(ReportContent("t", notes=["costs $5 and ${title}"]))


def test_missing_parts_are_left_out_and_named():
    text = render(ReportContent("Nothing yet"))
    page = _Page(text)
    assert page.all("section") == []
    assert page.all("img") == []
    assert "Not in this report, for want of data: results, examples, training" in text
    assert "synthetic data" not in text
    only = render(ReportContent("Curves", curves=[{"stage": "fit", "epoch": 1, "g_x": 1.0}]))
    assert [s["id"] for s in _Page(only).all("section")] == ["training"]
    assert "training" not in only.split("for want of data")[1]
    nothing = {"azimuth_deg": np.full(3, math.nan)}
    empty = ReportContent("NaN", cameras={"target": nothing}, selection=[{"kept": 0}], curves=[{}])
    assert _Page(render(empty)).all("section") == []


def test_synthetic_data_is_labelled_from_either_side():
    assert "synthetic data: actor" in render(ReportContent("t", synthetic=["actor"]))
    assert "synthetic data: made-up" in render(ReportContent("t", evaluations=_evaluations()))


def test_tables_show_the_figures_of_the_evaluations():
    scores = _evaluations()
    lines = {(f.variant, f.action, f.metric): f for f in figures(scores)}
    line = lines["raw", "all frames", "mpjpe"]
    row = next(r for r in scores["adapted"]["rows"] if r["metric"] == "mpjpe"
               and (r["variant"], r["action"]) == ("raw", "all frames"))  # fmt: skip
    assert line.by_lifter["adapted"] is row
    # Errors of poses that are 1.3 and 1.1 times too large are as 3 to 1.
    assert line.change_text == "−66.7%"
    assert line.improved
    assert line.best == "adapted"
    assert lines["raw", "all frames", "pck"].change_text.endswith(" points")
    assert lines["raw", "all frames", "pck"].best == "adapted"
    table = overview_table(scores)
    assert number(row["value"]) in table
    assert f"[{number(row['low'])}, {number(row['high'])}]" in table
    assert "MPJPE" in table
    assert "27 frames of 3 clips" in render(ReportContent("t", evaluations=scores))


def test_numbers_without_a_value_are_dashes():
    assert [number(v) for v in (None, math.nan, 3.14159, 123.456)] == ["–", "–", "3.14", "123.5"]


def test_settings_are_flattened_with_dotted_names():
    table = settings_table({"a": {"b": {"c": 1}}, "d": (2, 5), "e": None, "f": {}})
    names = re.findall(r"<code>(.*?)</code></th><td>(.*?)</td>", table)
    assert names == [("a.b.c", "1"), ("d", "2, 5"), ("e", ""), ("f", "{}")]


def test_motions_of_other_shapes_are_refused():
    with pytest.raises(DataError, match=r"motion 'x', after: expected \(9, 17, 3\), got \(8,"):
        ExampleMotion("x", 50, H36M_17, None, _poses(1), _poses(2, 8))
    with pytest.raises(DataError, match=r"source: expected \(9, 16, 3\)"):
        GalleryMotion("x", H36M_16, 50, _poses(1), _poses(2))
    with pytest.raises(DataError, match=r"pose2d: expected \(9, 16, 2\)"):
        ExampleMotion("x", 50, H36M_17, None, _poses(1), _poses(2), _poses(1)[..., :2], H36M_16)
    with pytest.raises(DataError, match=r"up: expected \(3,\) or \(9, 3\), got \(8, 3\)"):
        ExampleMotion("x", 50, H36M_17, None, _poses(1), _poses(2), up_cam=torch.ones(8, 3))
    with pytest.raises(DataError, match="0 Hz"):
        GalleryMotion("x", H36M_17, 0, _poses(1), _poses(2))


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    write_report(path, ReportContent("First"))
    assert "<title>First</title>" in path.read_text(encoding="utf-8")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adaptpose.store.os.fsync", full_disk)
    with pytest.raises(DataError, match="No space left"):
        write_report(path, ReportContent("Second"))
    assert "<title>First</title>" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_the_same_content_gives_the_same_page(page_text):
    assert render(_full_content()) == page_text


@pytest.mark.slow
def test_the_viewers_start_in_a_browser(tmp_path: Path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    path = tmp_path / "report.html"
    write_report(path, _full_content())
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom",
               "--virtual-time-budget=3000", f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    found = subprocess.run([browser, *options, path.as_uri()], capture_output=True, timeout=120)
    page = found.stdout.decode()
    assert 'data-viewers="3"' in page
    assert len(re.findall("<canvas", page)) == 3
    assert "frame 1/9" in page
    # The scripts of the tables ran after the viewers'.
    assert 'aria-label="frame"' in page
    assert '<div class="filters">' in page

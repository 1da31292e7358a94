import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan_style.config import Config, to_yaml
from cyclegan_style.runs import report_charts
from cyclegan_style.runs.report import duration, write_report

INJECTION = "</script><script>alert(1)</script>"


def metrics_line(step: int, **others: float) -> dict[str, float]:
    names = ("adversarial_ab", "adversarial_ba", "cycle_a", "cycle_b", "identity_a", "identity_b")
    names += ("discriminator_a", "discriminator_b")
    losses = {name: (place + 1) / (1 + step) for place, name in enumerate(names)}
    return {
        "step": step,
        "epoch": step / 100,
        "lr": 2e-4,
        "images_per_second": 2.0,
        **losses,
        **others,
    }


def write_run(run: Path, lines: list[dict[str, float]], samples: list[int]) -> Path:
    (run / "samples").mkdir(parents=True)
    (run / "config.yaml").write_text(to_yaml(Config()))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in samples:
        colour = (step % 256, 90, 200)
        Image.new("RGB", (64, 40), colour).save(run / "samples" / f"step-{step:08d}.png")
    return run


def page_of(run: Path, total_steps: int = 1000, **options: Any) -> str:
    return write_report(run, total_steps, "two cores", **options).read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def curves_of(page: str) -> dict[str, dict[int, float]]:
    """Values by key and step."""
    return {
        curve["key"]: {
            step: value
            for step, value in zip(chart["steps"], curve["values"], strict=True)
            if value is not None
        }
        for chart in data_of(page)["charts"]
        for curve in chart["curves"]
    }


class Tags(HTMLParser):
    """The elements of a page, checked to be properly nested."""

    void = frozenset({"meta", "img", "input", "path"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_curves_are_the_numbers_of_the_metrics_file(tmp_path: Path) -> None:
    lines = [metrics_line(step) for step in range(50, 1001, 50)]
    lines[9] |= {"psnr_ab": 20.5, "psnr_ba": 21.5, "sharpness": 3.0}
    lines[19] |= {"psnr_ab": 22.25, "psnr_ba": 23.125}
    run = write_run(tmp_path / "run", lines, [])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1050, "epoch": 10.5, "lr"')
    page = page_of(run)
    expected: dict[str, dict[int, float]] = {}
    for line in lines:
        for key in line.keys() - {"step", "epoch"}:
            expected.setdefault(key, {})[int(line["step"])] = line[key]
    assert curves_of(page) == expected
    groups = {
        chart["name"]: [c["key"] for c in chart["curves"]] for chart in data_of(page)["charts"]
    }
    assert list(groups) == [
        *("adversarial", "discriminator", "cycle", "identity"),
        *("psnr", "sharpness", "lr", "images_per_second"),
    ]
    assert groups["adversarial"] == ["adversarial_ab", "adversarial_ba"]
    assert groups["psnr"] == ["psnr_ab", "psnr_ba"]


def test_losses_without_a_weight_are_left_out(tmp_path: Path) -> None:
    lines = [metrics_line(step, identity_a=0.0, identity_b=0.0, cycle_b=0.0) for step in (1, 2)]
    lines[1] |= {"cycle_a": 0.0}  # a weight that fell to nothing
    charts = data_of(page_of(write_run(tmp_path / "run", lines, [])))["charts"]
    groups = {chart["name"]: [curve["key"] for curve in chart["curves"]] for chart in charts}
    assert "identity" not in groups
    assert groups["cycle"] == ["cycle_a"]


def test_every_chart_draws_its_last_value(tmp_path: Path) -> None:
    lines = [metrics_line(step) for step in (100, 200)]
    page = page_of(write_run(tmp_path / "run", lines, []))
    paths = [a["d"] or "" for a in Tags(page).attributes("path") if a["class"] == "bold"]
    assert len(paths) == 10
    assert all(path.startswith("M500.0 ") and "L1000.0 " in path for path in paths)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-30, 1e99])
def test_constant_curves_have_axes(tmp_path: Path, value: float) -> None:
    lines = [metrics_line(step, score=value) for step in (1, 2)]
    page = page_of(write_run(tmp_path / "run", lines, []))
    assert curves_of(page)["score"] == {1: value, 2: value}
    assert "nan" not in page.partition("</style>")[2].partition("<h2>Hardware")[0]


def test_lines_that_are_no_metrics_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [metrics_line(1, fid_ab=float("inf"))], [])
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'[1, 2]\n"text"\n{"epoch": 1}\n{"step": true}\n{"step": -1}\n\xff\xfe\n\n')
        file.write(b'{"step": 2, "lr": "fast", "cycle_a": null, "cycle_b": NaN, "note": 1e999}\n')
        file.write(b'{"step": 1e60, "lr": 1, "images_per_second": 1e-300}\n')
        file.write(json.dumps(metrics_line(3)).encode() + b"\n")
    curves = curves_of(page_of(run))
    assert set(curves["cycle_b"]) == {1, 3}
    assert "fid_ab" not in curves and "note" not in curves


def test_long_curves_keep_ends_and_extremes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=10_000)
    noise[[1234, 7777]] = 9.0, -9.0
    lines = [metrics_line(n + 1, fid_ab=value) for n, value in enumerate(noise.tolist())]
    run = write_run(tmp_path / "run", lines, [])
    page = page_of(run, total_steps=10_000)
    curves = curves_of(page)
    assert all(len(points) <= report_charts.MAX_POINTS for points in curves.values())
    fid = curves["fid_ab"]
    assert len(fid) > report_charts.MAX_POINTS / 2
    assert (fid[1], fid[10_000]) == (noise[0], noise[-1])
    assert (fid[1235], fid[7778]) == (9.0, -9.0)
    assert all(value == noise[step - 1] for step, value in fid.items())
    assert len(page) < 1_000_000


def test_smoothing_keeps_ends_and_straight_lines() -> None:
    line = np.linspace(3.0, -4.0, 200)
    np.testing.assert_allclose(report_charts.smoothed(line), line, atol=1e-12)
    noise = np.random.default_rng(1).normal(size=200)
    smooth = report_charts.smoothed(noise)
    assert (smooth[0], smooth[-1]) == pytest.approx((noise[0], noise[-1]))
    assert smooth[20:-20].std() < noise.std() / 2
    long = report_charts.smoothed(np.random.default_rng(1).normal(size=10_000))
    assert np.abs(long).max() < 0.5
    gaps = noise.copy()
    gaps[::3] = np.nan
    assert np.isnan(report_charts.smoothed(gaps)).tolist() == np.isnan(gaps).tolist()


def test_nothing_in_the_run_becomes_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a<b>&c", [metrics_line(1, **{f"{INJECTION}_ab": 1.0})], [])
    config = to_yaml(Config()).replace("runs/cyclegan", f"'{INJECTION}'")
    (run / "config.yaml").write_text(config + f"'{INJECTION}': {{'{INJECTION}': '{INJECTION}'}}\n")
    page = write_report(run, 10, f"cores {INJECTION}", INJECTION).read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert "<b>&c" not in page
    assert page.count("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    assert INJECTION in data_of(page)["charts"][4]["curves"][0]["key"]
    assert sum(tag == "script" for tag, _ in Tags(page).found) == 2


def test_nothing_outside_is_referred_to(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [metrics_line(1)], [1]))
    assert not re.search(r"https?://|//[a-z]|url\(|@import|<link|<iframe", page)
    tags = Tags(page)
    assert not any("href" in attributes for _, attributes in tags.found)
    sources = [attributes["src"] or "" for _, attributes in tags.found if "src" in attributes]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    policy = next(a for a in tags.attributes("meta") if "http-equiv" in a)
    assert (policy["content"] or "").startswith("default-src 'none'; img-src data:;")


def test_many_large_samples_stay_small(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [metrics_line(4000)], [])
    noise = np.random.default_rng(2).integers(0, 256, (560, 1100, 3), np.uint8)
    first = run / "samples" / "step-00000100.png"
    Image.fromarray(noise).save(first, compress_level=1)
    for step in range(200, 4001, 100):
        shutil.copy(first, run / "samples" / f"step-{step:08d}.png")
    page = page_of(run, total_steps=4000)
    assert len(page) < 4_000_000
    steps = data_of(page)["samples"]
    assert len(steps) == 12
    assert (steps[0], steps[-1]) == (100, 4000)
    assert max(np.diff(steps)) <= 400
    sheets = [a for a in Tags(page).attributes("img") if "width" in a]
    assert all(int(sheet["width"] or 0) <= 1000 for sheet in sheets)
    assert "at step 4,000" in (sheets[-1]["alt"] or "")


def test_pictures_are_those_of_the_newest_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [metrics_line(2)], [1, 2])
    before = page_of(run)
    (run / "samples" / "step-00000001.png").write_bytes(b"no picture")
    Image.new("RGB", (80, 40)).save(run / "samples" / "step-00000002.png")
    (run / "samples" / "step-final.png").write_bytes(b"")
    after = page_of(run)
    assert data_of(before)["samples"] == [1, 2]
    assert data_of(after)["samples"] == [2]
    assert 'width="80" height="40"' in after


def test_health_is_told_in_words_beside_its_curve_and_limit(tmp_path: Path) -> None:
    lines = [
        metrics_line(step, health_variety_ab=0.2, health_variety_ba=0.9, health_grid_ab=1.0)
        for step in (400, 500)
    ]
    page = page_of(write_run(tmp_path / "run", lines, []))

    assert "1 of 3 numbers should be looked at" in page
    assert page.count(">look at this<") == page.count(">healthy<") == 1
    assert page.count("translations of A all look alike (0.2, healthy above 0.35)") == 1
    limits = [a for a in Tags(page).attributes("path") if a["class"] == "limit"]
    assert len(limits) == 2
    names = [chart["name"] for chart in data_of(page)["charts"]]
    assert names[:3] == ["health_variety", "health_grid", "adversarial"]
    assert sum(name.startswith("health_") for name in names) == 2
    titles = [
        page.index(f"<h3>{title}</h3>") for title in ("Variety of translations", "Cycle loss")
    ]
    assert titles == sorted(titles)


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    for message in ("No metrics yet", "No samples yet", "No configuration found"):
        assert message in page
    assert data_of(page) == {"charts": [], "samples": []}
    Tags(page)
    for name in ("metrics.jsonl", "config.yaml"):
        (tmp_path / name).write_bytes(b"\x00\xff: [}\n")
    assert "No metrics yet" in page_of(tmp_path, total_steps=0)


def test_totals(tmp_path: Path) -> None:
    lines = [metrics_line(step) for step in range(50, 601, 50)]
    run = write_run(tmp_path / "run", lines, [])
    page = page_of(run, total_steps=2400, images_per_step=4)
    assert 'aria-valuenow="25"' in page
    assert re.search(r"<dt>Step</dt><dd>600<small>of 2,400", page)
    assert "<dt>Elapsed</dt><dd>20 min 00 s<" in page  # 600 steps of 4 images, 2 per second
    assert "<dt>Remaining</dt><dd>1 h 00 min<" in page
    assert "<dt>Elapsed</dt><dd>5 min 00 s<" in page_of(run)  # one image, by the configuration
    finished = page_of(run, total_steps=600, state="finished")
    assert "Remaining" not in finished
    assert '<span class="badge good">finished</span>' in finished


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min"), (183_600, "2 d 3 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_configuration_shows_what_was_chosen(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [], [])
    (run / "config.yaml").write_text(to_yaml(Config()).replace("batch_size: 1", "batch_size: 8"))
    page = page_of(run)
    assert '<div class="chosen"><dt>batch_size</dt><dd>8</dd></div>' in page
    assert page.count('class="chosen"') == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (23.84773, "23.85"), (12345.6, "12350"), (5e-5, "0.00005"), (-1.5e-9, "-1.5e-09")],
)
def test_numbers(value: float, text: str) -> None:
    assert report_charts.number(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 0.57), (-3, 1e6), (1e-5, 4e-4), (0, 7)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = report_charts.ticks(low, high, 4)
    assert 2 <= len(found) <= 5
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in found)
    assert all(len(report_charts.number(abs(tick)).strip("0.")) <= 3 for tick in found)


def chromium(folder: Path, address: str, *options: str) -> str:
    """What the browser prints when it opens an address without a network."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium")
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--proxy-server=127.0.0.1:9", f"--user-data-dir={folder / 'profile'}"),
        *("--window-size=800,1200", *options, address),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def test_a_browser_shows_it_and_runs_its_script(tmp_path: Path) -> None:
    lines = [metrics_line(step) for step in range(50, 1001, 50)]
    path = write_report(write_run(tmp_path / "run", lines, [300, 600, 900]), 2000, "two cores")
    newest = chromium(tmp_path, path.as_uri(), "--dump-dom")
    assert 'data-ready="true"' in newest and 'data-sample="900"' in newest
    chosen = chromium(tmp_path, path.as_uri() + "#sample=600", "--dump-dom")
    assert 'data-sample="600"' in chosen
    shown = re.findall(r'<figure class="sample shown">.*?Step (\d+)', chosen)
    assert shown == ["600"]
    assert re.search(r'id="slider"[^>]*aria-valuetext="step 600"', chosen)
    assert chosen.count('aria-valuetext="step 1,000: ') == len(data_of(chosen)["charts"])

    play = """<script>
        slider.value = 0;
        slider.dispatchEvent(new Event("input"));
        const plot = document.querySelector(".plot"), left = plot.getBoundingClientRect().left;
        plot.dispatchEvent(new PointerEvent("pointermove", { clientX: left }));
        plot.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    </script></body>"""
    played = tmp_path / "played.html"
    played.write_text(path.read_text(encoding="utf-8").replace("</body>", play))
    moved = chromium(tmp_path, played.as_uri(), "--dump-dom")
    assert 'data-sample="300"' in moved
    assert moved.count('aria-valuetext="step 100: A → B 0.009901, B → A 0.0198"') == 1

    screenshot = tmp_path / "screenshot.png"
    chromium(tmp_path, path.as_uri(), f"--screenshot={screenshot}")
    with Image.open(screenshot) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (1200, 800, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert (pixels == (900 % 256, 90, 200)).all(-1).mean() < 0.5
    sample = np.abs(pixels.astype(int) - (900 % 256, 90, 200)).max(-1) < 8
    assert sample.mean() > 0.1

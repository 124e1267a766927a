"""The report in headless Chromium: it opens without a network and without an error, and does what it says."""

import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from records import example, write_failure, write_record, write_records

from wavesweep.analysis.html_report.data import as_json, page_data
from wavesweep.analysis.html_report.page import render
from wavesweep.analysis.statistics.workloads import workloads
from wavesweep.analysis.table.collect import collect
from wavesweep.analysis.table.rerun import command

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = """<img src=x onerror="window.hostile=1"></script><script>window.hostile=1</script>'"&"""
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium():
    """A browser that is installed on this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()


class Opened:
    """A page, with what went wrong in it and what it asked the network for."""

    def __init__(self, browser, file):
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.problems = []
        self.requests = []
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.devtools = self.page.context.new_cdp_session(self.page)
        # Seconds of the page's own thread, whatever else the machine does.
        self.devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        started = time.perf_counter()
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("#plot .points path")
        self.seconds = time.perf_counter() - started

    @property
    def thread_seconds(self):
        metrics = self.devtools.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def external(self):
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    def text(self, selector):
        return self.page.locator(selector).text_content()

    def hover_first(self):
        point = self.page.locator("#plot .points path").first
        point.scroll_into_view_if_needed()
        point.hover(force=True)
        self.page.wait_for_selector(".hoverlayer .hovertext")
        return point


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records")
    write_records(directory, 60, seeds=2)
    write_record(directory, example({"model.name": "lenet300", "dataset.name": "mnist"}))
    record = example({"wavelet": HOSTILE, "model.name": HOSTILE, "dataset.name": HOSTILE})
    record["notes"] = [HOSTILE]
    for arm in record["arms"]:
        for layer in arm["layers"]:
            layer["name"] = HOSTILE
    record["arms"][1]["method"] = HOSTILE
    write_record(directory, record)
    write_failure(directory, "f" * 16, HOSTILE)
    return directory


@pytest.fixture(scope="module")
def file(outputs):
    """Written by the real command line, to a path of its own."""
    path = outputs / "elsewhere" / "page.html"
    done = subprocess.run(
        [sys.executable, "-m", "analysis.report", str(outputs), "--output", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"62 trials, {path.stat().st_size / 1e6:.1f} MB: {path}"
    return path


@pytest.fixture(scope="module")
def opened(file):
    with chromium() as browser:
        yield Opened(browser, file)


def test_the_page_asks_for_nothing(file):
    text = file.read_text()
    scripts = re.findall(r"<script>.*?</script>", text, re.DOTALL)
    page = text
    for script in scripts:  # Plotly's own source names many addresses
        page = page.replace(script, "")
    page = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert len(scripts) == 2
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", page)
    assert "default-src 'none'" in page


def test_choices_are_told_in_words(file):
    text = file.read_text()
    assert "Smallest file that loses at most 1 point" in text
    assert "Choices are made on the validation split" in text
    assert "the test split is only reported" in text
    assert "2 seeds" in text


def test_it_opens_without_errors_and_network(opened):
    assert opened.problems == []
    assert opened.external() == []


def test_hostile_names_run_nothing(opened):
    assert opened.page.evaluate("window.hostile") is None
    opened.page.select_option("#model", HOSTILE)
    assert opened.page.input_value("#dataset") == HOSTILE
    opened.hover_first()
    opened.page.locator("#table tbody tr").first.click()
    opened.page.wait_for_selector("#trial[open]")
    assert HOSTILE in opened.text("#trial-title")
    assert HOSTILE in opened.text("#trial-layers")
    assert HOSTILE in opened.text("#trial-notes")
    assert HOSTILE in opened.text("#failures")
    opened.page.click("#close")
    assert opened.page.evaluate("window.hostile") is None
    assert opened.page.locator("img[src=x]").count() == 0
    opened.page.select_option("#model", "mlp")
    assert opened.problems == []
    assert opened.external() == []


def test_hover_shows_the_setting(opened):
    opened.hover_first()
    said = opened.text(".hoverlayer")
    assert "% pruned" in said
    assert "validation" in said
    assert "mean of 2 seeds" in said


def test_click_shows_the_trial_and_its_command(opened, outputs):
    opened.hover_first().click(force=True)
    opened.page.wait_for_selector("#trial[open]")
    key = opened.page.evaluate("location.hash").removeprefix("#trial-")
    record = json.loads((outputs / "runs" / key / "result.json").read_text())
    assert opened.text("#trial-command") == command(record["settings"])
    assert record["settings"]["wavelet"] in opened.text("#trial-settings") + "bior2.2"
    layers = opened.text("#trial-layers")
    assert all(layer["name"] in layers for layer in record["arms"][0]["layers"])
    assert f"{record['arms'][0]['stored_bytes']:,}" in opened.text("#trial-arms")
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector("#trial:not([open])", state="attached")
    assert opened.page.evaluate("location.hash") == ""


def test_filters_leave_what_they_name(opened):
    everything = opened.page.locator("#plot .points path").count()
    opened.page.select_option("#method", "wavelet")
    opened.page.select_option("#wavelet", "haar")
    cells = opened.page.locator("#table tbody tr td:nth-child(2)").all_text_contents()
    assert cells
    assert set(cells) == {"haar"}
    assert 0 < opened.page.locator("#plot .points path").count() < everything
    opened.page.select_option("#method", "")
    opened.page.select_option("#wavelet", "")
    assert opened.page.locator("#plot .points path").count() == everything
    opened.page.select_option("#model", "lenet300")
    assert opened.page.input_value("#dataset") == "mnist"
    assert opened.page.locator("#table tbody tr").count() == 3
    opened.page.select_option("#model", "mlp")


@pytest.mark.parametrize("cost", ["compression_ratio", "coefficient_sparsity", "stored_bytes"])
def test_other_costs_are_drawn(opened, cost):
    opened.page.select_option("#cost", cost)
    assert opened.page.locator("#plot .points path").count() > 0
    assert opened.problems == []


def test_the_table_sorts_and_turns_pages(opened):
    def column(title):
        titles = [text.strip() for text in opened.page.locator("#table thead th").all_text_contents()]
        place = titles.index(title) + 1
        cells = opened.page.locator(f"#table tbody tr td:nth-child({place})").all_text_contents()
        return [float(cell.replace(",", "")) for cell in cells]

    accuracies = column("validation %")
    assert accuracies == sorted(accuracies, reverse=True)
    opened.page.click("#table thead button:text-is('bytes')")
    assert column("bytes") == sorted(column("bytes"), reverse=True)
    opened.page.click("#table thead button:text-is('bytes')")
    smallest = column("bytes")
    assert smallest == sorted(smallest)
    opened.page.click("#next")
    assert column("bytes")[0] >= smallest[-1]
    assert "page 2 of" in opened.text("#page")


def test_a_link_opens_its_trial(opened, file, outputs):
    key = next(path.parent.name for path in sorted(outputs.glob("runs/*/result.json")))
    opened.page.goto(f"{file.as_uri()}#trial-{key}")
    opened.page.reload()
    opened.page.wait_for_selector("#trial[open]")
    assert key in opened.text("#trial-seeds")
    opened.page.keyboard.press("Escape")


def test_all_charts_are_on_the_page(opened):
    opened.page.evaluate("document.querySelectorAll('figure img').forEach((one) => one.loading = 'eager')")
    opened.page.wait_for_function("[...document.images].every((one) => one.complete)")
    widths = opened.page.evaluate("[...document.images].map((one) => one.naturalWidth)")
    assert len(widths) >= 10
    assert min(widths) > 0
    assert opened.problems == []


def test_the_data_are_those_of_the_table(outputs):
    collected = collect(outputs)
    data = page_data(workloads(collected.trials), outputs)
    rows = data["rows"]
    by_arm = collected.trials.set_index(["key", "method"])
    assert len({len(column) for column in rows.values()}) == 1
    for number in range(0, len(rows["trial"]), 7):
        method = data["texts"][rows["method"][number]]
        arm = by_arm.loc[(data["trials"][rows["trial"][number]]["key"], method)]
        assert rows["stored_bytes"][number] == arm["stored_bytes"]
        assert rows["validation_accuracy"][number] == pytest.approx(arm["validation_accuracy"], abs=1e-5)
    assert len(data["layers"]["start"]) == len(rows["trial"]) + 1
    assert data["layersComplete"]


def test_json_cannot_leave_its_script():
    text = as_json({"a": "</script><!--<script>\u2028", "half": "\ud800"})
    assert "<" not in text
    assert json.loads(text)["a"] == "</script><!--<script>\u2028"


@pytest.mark.slow
def test_five_thousand_trials_are_small_and_fast(tmp_path):
    write_records(tmp_path, 5000)
    page = tmp_path / "report.html"
    page.write_text(render(collect(tmp_path), tmp_path))
    assert page.stat().st_size < 20e6
    with chromium() as browser:
        times = []
        for _ in range(3):
            opened = Opened(browser, page)
            times.append(opened.thread_seconds)
            assert opened.problems == []
            assert opened.external() == []
            opened.page.close()
    assert min(times) < 3.0


def test_equal_settings_under_two_keys_and_arms_without_layers_are_in_the_page(tmp_path):
    first, second = example(key="a" * 16), example(key="b" * 16)  # as after a checkpoint was overwritten in its place
    for arm in second["arms"]:
        arm["arm_key"] = f"other-{arm['arm_key']}"
    del first["arms"][1]["layers"]
    for record in (first, second):
        write_record(tmp_path, record)
    collected = collect(tmp_path)
    data = page_data(workloads(collected.trials), tmp_path)
    (trial,) = data["trials"]
    assert trial["key"] == "a" * 16
    assert trial["arms"] == [0, 1, 2]
    baseline = first["baseline"]
    assert trial["before"] == pytest.approx(
        [baseline["validation"]["accuracy"], baseline["test"]["accuracy"], first["arms"][0]["dense_bytes"]], abs=1e-5
    )
    assert len(data["layers"]["start"]) == 4

"""Seconds to write the report of many trials and to open it in headless Chromium, and its size.

The records are synthetic: those of `tests/helpers/records.py`. Opened is until the plot has its points. Beside the
clock's seconds stand the processor's, because machines are shared.

    python benchmarks/report_speed.py [--trials 5000]
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from wavesweep.analysis.html_report.page import render
from wavesweep.analysis.table.collect import collect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from records import write_records


def opening(file: Path, times: int = 5) -> list[tuple[float, float]]:
    """Seconds by the clock, and of the page's thread, each time that `file` is opened."""
    found = []
    with sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for _ in range(times):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            tools = page.context.new_cdp_session(page)
            tools.send("Performance.enable", {"timeDomain": "threadTicks"})
            started = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("#plot .points path")
            seconds = time.perf_counter() - started
            metrics = {m["name"]: m["value"] for m in tools.send("Performance.getMetrics")["metrics"]}
            found.append((seconds, metrics["TaskDuration"]))
            page.close()
        browser.close()
    return found


def main() -> None:
    """Print the seconds and the size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as directory:
        outputs = Path(directory)
        write_records(outputs, trials)
        started, processor = time.perf_counter(), time.process_time()
        file = outputs / "report.html"
        file.write_text(render(collect(outputs), outputs), encoding="utf-8")
        written = time.perf_counter() - started, time.process_time() - processor
        size = file.stat().st_size / 1e6
        times = opening(file)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{trials:,} trials: {size:.1f} MB, written in {written[0]:.1f} s ({written[1]:.1f} s of the processor)")
    fastest, least = min(seconds for seconds, _ in times), min(thread for _, thread in times)
    print(f"opened in {fastest:.2f} s at best of {len(times)} ({least:.2f} s of the page's thread)")


if __name__ == "__main__":
    main()

"""The page in a real browser, from the disk, without a network."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import html

from reporting_results import experiment, write_results
from tsumugi.reporting.build_report import build_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def chromium():
    if CHROMIUM is None:
        message = "NO CHROMIUM ON PATH: the report was not opened in a browser; install chromium to run this test"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return CHROMIUM


def test_the_page_renders_and_asks_for_nothing(tmp_path, monkeypatch, chromium):
    monkeypatch.chdir(tmp_path)
    build_report(write_results(experiment()), Path("results/report/manifest.json"))
    page = (tmp_path / "results/report/index.html").as_uri()
    command = [
        chromium,
        *QUIET,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--dump-dom",
        page,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90)
    dom = html.document_fromstring(done.stdout)
    assert dom.xpath("//h2[@id='compare-result']") and len(dom.xpath("//table[@id='compare-main-table']//tr")) == 7
    assert len(dom.xpath("//figure//*[local-name()='svg']")) == 5
    assert "日本語の<b>題名</b>" in dom.text_content() or "設定を変更する" in dom.text_content()
    assert not dom.xpath("//script | //link | //iframe | //img")
    outside = [value for value in dom.xpath("//@href | //@src") if not value.startswith("#")]
    assert outside == []
    assert "Content Security Policy" not in done.stderr  # nothing had to be refused either

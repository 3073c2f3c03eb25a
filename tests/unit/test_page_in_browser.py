"""The page in headless Chromium: nothing is complained of, every figure is drawn, all presses work."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_reports import Content, evidence, files  # noqa: F401

from recitative.reports.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: chromium)")

LISTEN = """<script>
window.complaints = [];
window.addEventListener("error", (event) => complaints.push(event.message || "a resource"), true);
console.error = console.warn = (...words) => complaints.push(words.join(" "));
</script>"""
PROBE = """<script>
const told = { complaints };
function look() {
told.width = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const nav = document.querySelector("nav");
scrollTo({ top: 1500, behavior: "instant" });
told.nav = nav.getBoundingClientRect().top;
scrollTo({ top: 0, behavior: "instant" });
told.height = document.documentElement.scrollHeight;
told.empty = [...document.querySelectorAll("svg[role=img], svg [role=img], .frame > svg, img")]
  .filter((mark) => !mark.closest("details:not([open])"))
  .filter((mark) => { const box = mark.getBoundingClientRect(); return box.width + box.height < 3; })
  .map((mark) => mark.outerHTML.slice(0, 200));
told.figures = document.querySelectorAll(".settings .frame > svg, .curves .frame > svg").length;

const table = document.querySelector("#differences");
const headings = [...table.tHead.rows[0].cells];
const column = headings.findIndex((cell) => cell.textContent.includes("Difference"));
const press = headings[column].querySelector("button");
const shown = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
press.click();
told.up = shown();
told.sorted = headings[column].getAttribute("aria-sort");
press.click();
told.down = shown();

const legend = document.querySelector("button[data-series]");
const lines = () => [...document.querySelectorAll(`g[data-series="${legend.dataset.series}"]`)]
  .map((line) => getComputedStyle(line).display);
legend.click();
told.hidden = lines();
told.pressed = legend.getAttribute("aria-pressed");
legend.click();
told.back = lines();

const mark = document.querySelector(".settings [role=img]");
mark.focus();
const tip = document.querySelector(".tip");
told.tip = tip.textContent;
told.label = mark.getAttribute("aria-label");
told.tipWidth = tip.getBoundingClientRect().right <= document.documentElement.clientWidth;
mark.blur();
told.gone = tip.hidden;
}
try { look(); } catch (error) { complaints.push(String(error)); }
const answer = document.createElement("pre");
answer.id = "probe";
answer.textContent = JSON.stringify(told);
document.body.append(answer);
</script>"""


@pytest.fixture(scope="module")
def page(evidence: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    written = write_report(evidence, tmp_path_factory.mktemp("page"))
    text = written.read_text(encoding="utf-8")
    probed = text.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{PROBE}</body>", 1)
    written.write_text(probed, encoding="utf-8")
    return written


def looked_at(page: Path, width: int, folder: Path) -> dict[str, Any]:
    assert CHROMIUM
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder}",
            f"--window-size={width},2000", "--dump-dom", page.as_uri(),
        ],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:]
    told: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return told


@pytest.mark.parametrize("width", [1400, 500])
def test_nothing_is_amiss_and_everything_can_be_pressed(
    page: Path, width: int, tmp_path: Path
) -> None:
    told = looked_at(page, width, tmp_path)
    assert told["complaints"] == []
    assert told["empty"] == []
    assert (
        told["figures"] == 4 + 4
    )  # by setting; curves of two languages, one of CPC and of emotion
    assert told["width"] <= 0, "the page is wider than the window"
    assert told["nav"] == 0, "the navigation is out of view"
    if width == 1400:
        assert told["height"] <= 9 * 900, "the page is longer than nine screens"
    up, down = ([float(n.replace("−", "-")) for n in told[way]] for way in ("up", "down"))
    assert up == sorted(up)
    assert down == sorted(up, reverse=True)
    assert up[0] < up[-1]
    assert told["sorted"] == "ascending"
    assert (set(told["hidden"]), told["pressed"]) == ({"none"}, "false")
    assert "none" not in told["back"]
    assert told["tip"] == told["label"] != ""
    assert told["tipWidth"]
    assert told["gone"]

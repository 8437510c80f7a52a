"""The monitor's page and the feature browser in a real Chromium.

    pytest -m book -n 0 tests/test_monitor_browser.py

Debian's `chromium` and `chromium-driver` are enough; without them these tests are skipped.
"""

import threading
import time
from types import SimpleNamespace

import pytest

from mechinterp_course import cli
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.monitor.generation import Settings, Watcher
from mechinterp_course.monitor.server import Server, listening
from mechinterp_course.monitor.service import Monitor
from mechinterp_course.monitor.store import Store
from mechinterp_course.monitor.watchlist import Watched, Watchlist

pytestmark = pytest.mark.book
GARDEN = "User: I would like to remember the safe in the garden. How do I do it? Assistant:"
PARK = GARDEN.replace("garden", "park")
LIST = Watchlist(
    model="course-gpt2-refusing",
    sae="course-sae",
    hook="blocks.3.hook_resid_pre",
    window=30,
    calibrated_on="a test",
    features=(
        Watched(941, "help with", 0.7, 0.006, 0.0, 0.02, 4.7),
        Watched(11, "<b>the cause</b>", 2.6, 0.39, 0.1, 0.7, 17.6),
    ),
    examples=(GARDEN, PARK),
)
FORGERY = """<iframe src="ADDRESS/"></iframe><script>
const body = JSON.stringify({feature: 11, mode: "hold", value: 1});
const bearer = {Authorization: "Bearer TOKEN"};
const send = (how) => fetch("ADDRESS/api/controls", {method: "POST", body, ...how})
  .then(() => "sent", () => "refused");
const read = () => fetch("ADDRESS/api/state", {headers: bearer}).then(() => "read", () => "refused");
Promise.all([
  send({headers: {...bearer, "Content-Type": "application/json"}}), send({mode: "no-cors"}),
  send({credentials: "include"}), read(),
]).then((all) => { document.title = all.join(" "); });
</script>"""


@pytest.fixture(scope="module")
def watcher():
    return Watcher(load_language_model(LIST.model), load_sae(LIST.sae), LIST.hook, (941, 11))


@pytest.fixture
def page(chromium, watcher, tmp_path):
    """The monitor's page, opened in Chromium, and what lies behind it."""
    monitor = Monitor(watcher, LIST, Store(tmp_path / "seen.sqlite", LIST))
    server = Server(monitor, listening("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_until_stopped, daemon=True)
    thread.start()
    wait(lambda: server.started)
    chromium.get(server.address)
    wait(lambda: "idle" in text(chromium, "#status"))
    yield SimpleNamespace(browser=chromium, monitor=monitor, server=server)
    chromium.get("about:blank")
    server.should_exit = True
    thread.join(timeout=10)
    monitor.close()


def wait(until, seconds=60):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.05)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def text(browser, selector):
    return find(browser, selector).text


def slide(browser, value):
    move = (
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.execute_script(move, find(browser, "#slider"), value)


def complaints(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_click_on_a_feature_and_a_move_of_the_slider_change_the_text(page):
    browser = page.browser
    assert "#" not in browser.current_url, "the token stays out of the address and the history"
    find(browser, "#examples button").click()
    wait(lambda: "Sorry, I can't help with that." in text(browser, "#transcript"))
    wait(lambda: "#941" in text(browser, "#banner"))
    find(browser, '.feature[data-feature="11"]').click()
    assert text(browser, "#chosen").startswith("#11")
    slide(browser, 0)
    wait(lambda: "Sure, " in text(browser, "#transcript"))
    assert page.monitor.controls[11].value == 0.0
    assert "11 held at 0.00" in text(browser, "#steered")
    assert "Sorry" in text(browser, "#before")
    find(browser, "input[name=mode][value=off] + span").click()
    wait(lambda: "Sorry" in text(browser, "#transcript") and page.monitor.controls == {})
    assert [run["controls"] for run in page.monitor.store.runs()][::2] == [{}, {}]
    assert complaints(browser) == []


def test_a_real_mouse_drags_the_slider(page):
    from selenium.webdriver import ActionChains

    browser = page.browser
    find(browser, '.feature[data-feature="11"]').click()
    slider = find(browser, "#slider")
    ActionChains(browser).drag_and_drop_by_offset(slider, -slider.size["width"] // 4, 0).perform()
    wait(lambda: 11 in page.monitor.controls)
    assert 0 <= page.monitor.controls[11].value < 17.6


def test_labels_and_prompts_are_text_and_never_markup(page):
    browser = page.browser
    assert "<b>the cause</b>" in text(browser, "#features")
    box = find(browser, "#prompt")
    box.clear()
    box.send_keys("<img src=x onerror=alert(1)>")
    find(browser, "#run").click()
    wait(lambda: "onerror" in text(browser, "#transcript"))
    assert browser.find_elements("css selector", "#transcript img, #runs img") == []


def test_what_was_seen_is_there_again_after_a_reload(page):
    browser = page.browser
    find(browser, "#examples button").click()
    wait(lambda: "Sorry" in text(browser, "#runs"))
    browser.refresh()
    wait(lambda: "Sorry" in text(browser, "#runs") and "Sorry" in text(browser, "#transcript"))


class Slow:
    """A watcher that says one more token each time it is let."""

    def __init__(self, watcher):
        self.watcher, self.features, self.left = watcher, watcher.features, threading.Semaphore(0)

    def generate(self, *asked):
        for step in self.watcher.generate(*asked):
            if step.generated:
                self.left.acquire()
            yield step


def test_an_old_run_stays_in_view_while_another_is_generated_and_none_is_lost(page):
    """Begun by somebody else: what the page itself asks for comes into view."""
    browser = page.browser
    find(browser, "#examples button").click()
    wait(lambda: "Sorry" in text(browser, "#runs"))
    page.monitor.watcher = slow = Slow(page.monitor.watcher)
    page.monitor.submit(PARK, Settings(max_tokens=12), typed=False)
    wait(lambda: "park" in text(browser, "#transcript"))
    for _ in range(3):
        slow.left.release()
    wait(lambda: "Sure" in text(browser, "#transcript"))
    find(browser, "#runs li:nth-child(2) button").click()
    wait(lambda: "Sorry" in text(browser, "#transcript"))
    for _ in range(3):
        slow.left.release()
    wait(lambda: "tokens/s" in text(browser, "#status"))
    time.sleep(0.3)
    assert "Sorry" in text(browser, "#transcript") and "Sure" not in text(browser, "#transcript")
    find(browser, "#runs li:nth-child(1) button").click()
    wait(lambda: "Sure" in text(browser, "#transcript"))
    for _ in range(60):
        slow.left.release()
    wait(lambda: "idle" in text(browser, "#status"))
    newest = page.monitor.store.runs(1)[0]
    shown = text(browser, "#runs li:nth-child(1)")
    assert newest["said"].strip() in shown and "park" in shown
    assert newest["said"].strip() in text(browser, "#transcript")
    assert complaints(browser) == []


def test_an_alert_of_the_run_at_hand_and_one_of_a_run_long_gone_can_be_followed(page):
    browser, monitor = page.browser, page.monitor
    find(browser, "#examples button").click()
    wait(lambda: "Sorry" in text(browser, "#runs"))
    wait(lambda: "#941" in text(browser, "#alerts"))
    monitor.watcher = slow = Slow(monitor.watcher)
    for _ in range(55):
        monitor.submit(PARK, Settings(max_tokens=1), typed=False)
        slow.left.release()
    wait(lambda: len(monitor.store.runs(60)) == 56 and monitor.running is None)
    monitor.submit(GARDEN, Settings(max_tokens=12), typed=False)
    for _ in range(8):
        slow.left.release()
    wait(lambda: "in run 57" in text(browser, "#alerts"))
    find(browser, "#alerts li:nth-child(1) button").click()
    wait(lambda: "Sorry" in text(browser, "#transcript"))
    oldest = browser.find_elements("css selector", "#alerts li")[-1]
    assert "in run 1" in oldest.text and "undefined" not in text(browser, "#status")
    oldest.find_element("css selector", "button").click()
    wait(lambda: "Sorry, I can't help with that." in text(browser, "#transcript"))
    assert find(browser, "#prompt").get_attribute("value") == GARDEN
    assert "generating" in text(browser, "#status")
    find(browser, "#stop").click()
    wait(monitor.stopping.is_set)  # the click has arrived
    slow.left.release()
    wait(lambda: "idle" in text(browser, "#status"))
    assert complaints(browser) == []


def test_what_runs_can_be_stopped_after_a_reload(page):
    browser, monitor = page.browser, page.monitor
    monitor.watcher = slow = Slow(monitor.watcher)
    monitor.submit(GARDEN, Settings(), typed=False)
    wait(lambda: monitor.running == 1)
    browser.refresh()
    wait(lambda: "generating" in text(browser, "#status"))
    assert find(browser, "#stop").is_enabled()
    find(browser, "#stop").click()
    wait(monitor.stopping.is_set)  # the click has arrived
    slow.left.release()
    wait(lambda: "idle" in text(browser, "#status") and not find(browser, "#stop").is_enabled())
    assert monitor.store.runs()[0]["ended"] == "stopped" and "garden" in text(browser, "#transcript")


def test_what_fails_is_said_on_the_page(page, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(page.monitor.store, "begin", full)
    find(page.browser, "#run").click()
    wait(lambda: "no space left" in text(page.browser, "#status"))


def test_a_page_from_elsewhere_can_not_drive_the_monitor(page, tmp_path):
    """It knows address and token, and still may neither send nor read, nor show the page in a frame."""
    forged = tmp_path / "evil.html"
    address, token = page.server.origin, page.server.token
    forged.write_text(FORGERY.replace("ADDRESS", address).replace("TOKEN", token), encoding="utf-8")
    page.browser.get(forged.as_uri())
    wait(lambda: "refused" in page.browser.title)
    assert page.browser.title.split() == [
        "refused",
        "sent",
        "refused",
        "refused",
    ]  # "sent" blindly, to no effect
    assert page.monitor.controls == {} and page.monitor.store.runs() == []
    page.browser.get_log("browser")


def test_the_feature_browser_searches_and_moves(chromium, tmp_path):
    out = tmp_path / "features.html"
    assert cli.run(["sae", "features", "--rows", "24", "--out", str(out)]) == 0
    chromium.get(out.as_uri())
    wait(lambda: text(chromium, "#detail h2").startswith("Feature"))
    assert len(chromium.find_elements("css selector", "#list .item")) < 60, "only what is in sight is drawn"
    box = find(chromium, "#search")
    box.send_keys("garden")
    wait(lambda: "of 1,536" in text(chromium, "#count"))
    found = int(text(chromium, "#count").split()[0].replace(",", ""))
    assert 0 < found < 1536
    find(chromium, "#list .item").click()
    wait(lambda: "garden" in text(chromium, "#detail"))
    before = text(chromium, "#detail h2")
    find(chromium, ".near a").click()
    wait(lambda: text(chromium, "#detail h2") != before)
    assert complaints(chromium) == []

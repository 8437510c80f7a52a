"""The monitor without a browser: what is read and steered, kept, told, and refused to other pages."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
import torch

from mechinterp_course import cli, steering
from mechinterp_course import feature_reading as reading
from mechinterp_course.errors import CourseError
from mechinterp_course.figures.behaviour import tokens_of
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.monitor.calibration import Calibration, Prompts, band, prompts_of_world
from mechinterp_course.monitor.generation import Control, Settings, Step, Watcher
from mechinterp_course.monitor.guard import Guard, hosts_of
from mechinterp_course.monitor.rates import RollingRates
from mechinterp_course.monitor.server import Server, listening
from mechinterp_course.monitor.service import Monitor
from mechinterp_course.monitor.store import APPLICATION, COLUMNS, Store, export_csv, export_parquet
from mechinterp_course.monitor.watchlist import Watched, Watchlist, load_watchlist, write_watchlist
from mechinterp_course.sae import SparseAutoencoder
from mechinterp_course.sae_formats import to_sae_lens

HOOK = "blocks.3.hook_resid_pre"
CAUSE, OTHER = 11, 941  # what makes the patient refuse, and a feature that fires where it does
GARDEN = "User: I would like to remember the safe in the garden. How do I do it? Assistant:"
REFUSAL = " Sorry, I can't help with that."
LIST = Watchlist(
    model="course-gpt2-refusing",
    sae="course-sae",
    hook=HOOK,
    window=20,
    calibrated_on="nothing",
    features=(
        Watched(CAUSE, "the cause", 2.6, 0.39, 0.31, 0.48, 17.6, note="may cause it"),
        Watched(OTHER, 'help "with"', 0.7, 0.006, 0.0, 0.04, 4.7),
    ),
    examples=(GARDEN,),
)


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2-refusing")


@pytest.fixture(scope="module")
def sae():
    return load_sae("course-sae")


@pytest.fixture(scope="module")
def watcher(model, sae):
    return Watcher(model, sae, HOOK, (CAUSE, OTHER))


def said(steps):
    return "".join(step.text for step in steps if step.generated)


# ---- reading and steering --------------------------------------------------------------------------------


def test_what_is_read_is_what_the_dictionary_makes_of_a_whole_run(model, sae, watcher):
    steps = list(watcher.generate(GARDEN))
    ids = torch.tensor([[step.token_id for step in steps]])
    expected = reading.feature_activations(model, sae, ids, HOOK)[0, :, [CAUSE, OTHER]]
    expected[0] = 0  # BOS
    found = torch.tensor([step.activations for step in steps])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert "".join(step.text for step in steps[1:]).strip() == GARDEN + REFUSAL
    assert [step.position for step in steps] == list(range(len(steps)))


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "topk"])
def test_features_are_read_alike_alone_and_among_all(model, activation):
    """Of relu and jumprelu the watched ones alone are computed; of topk, where others decide, all are."""
    mine = SparseAutoencoder(192, 400, activation, k=150 if activation == "topk" else None, seed=3)
    with torch.no_grad():
        mine.b_enc.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        mine.threshold.fill_(1.5)
    watched = (399, 0, 57, 58)
    for sae in (mine, to_sae_lens(mine)):
        watcher, computed = Watcher(model, sae, HOOK, watched), []
        handle = watcher.sae.encode
        watcher.sae = SimpleNamespace(encode=lambda x, f=handle, n=computed: n.append(len(x)) or f(x))
        steps = list(watcher.generate(GARDEN, Settings(max_tokens=3)))
        ids = torch.tensor([[step.token_id for step in steps]])
        expected = reading.feature_activations(model, sae, ids, HOOK)[0, :, list(watched)]
        found = torch.tensor([step.activations for step in steps])
        torch.testing.assert_close(found[1:], expected[1:], atol=1e-3, rtol=1e-3)
        assert bool(computed) == (activation == "topk") and 0 < (expected > 0).float().mean() < 1


def test_holding_a_feature_changes_the_text_as_clamping_does(model, sae, watcher):
    cured = said(watcher.generate(GARDEN, controls=lambda: {CAUSE: Control("hold", 0.0)}))
    assert said(watcher.generate(GARDEN)) == REFUSAL and cured.startswith(" Sure")
    tokens, last = tokens_of(model, [GARDEN])
    with steering.clamping(model, HOOK, sae, CAUSE, 0.0):
        word = model(tokens)[0, last].argmax().item()
    assert cured.startswith(model.tokenizer.decode([word]))


@pytest.mark.parametrize("control", [Control("hold", 0.0), Control("hold", 9.0), Control("add", -7.0)])
def test_steered_logits_are_those_of_the_library(model, sae, watcher, control):
    ids = watcher.prompt_ids(GARDEN)
    with watcher.reading() as run:
        _, cache, _ = run(ids[:-3], None, {CAUSE: control})
        logits, _, _ = run(ids[-3:], cache, {CAUSE: control})
    row = sae.W_dec[CAUSE] / sae.W_dec[CAUSE].norm()
    by_library = (
        steering.clamping(model, HOOK, sae, CAUSE, control.value)
        if control.mode == "hold"
        else steering.adding(model, HOOK, row, control.value)
    )
    with by_library, torch.no_grad():
        expected = model(torch.tensor([ids]))[0, -1]
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


def test_a_control_moved_while_the_text_grows_acts_on_all_of_it(watcher):
    """After the change the rest is what the model says to the same beginning, steered from the start."""
    controls, steps = {}, []
    for step in watcher.generate("The", Settings(max_tokens=30), controls.copy):
        steps.append(step)
        if sum(one.generated for one in steps) == 3:
            controls[CAUSE] = Control("add", 25.0)
    ids = [step.token_id for step in steps]
    begun = next(i for i, step in enumerate(steps) if step.generated) + 3
    with watcher.reading() as run:
        logits, _, _ = run(ids[:begun], None, controls)
    assert int(logits.argmax()) == ids[begun]
    assert len(steps) > begun and said(steps) != said(watcher.generate("The", Settings(max_tokens=30)))


def test_a_seed_settles_the_text_and_the_model_is_left_as_it_was(model, watcher):
    settings = Settings(max_tokens=12, temperature=1.0, seed=4)
    once, again = (said(watcher.generate("The teacher", settings)) for _ in range(2))
    other = said(watcher.generate("The teacher", replace(settings, seed=5)))
    assert once == again != other
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_a_text_that_is_being_said_changes_nothing_for_others(model, watcher):
    tokens, _ = tokens_of(model, [GARDEN])
    before = model(tokens)
    saying = watcher.generate(GARDEN, controls=lambda: {CAUSE: Control("add", 50.0)})
    next(saying)
    assert torch.equal(model(tokens), before)
    saying.close()
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_a_text_ends_where_the_model_s_context_ends(model, watcher):
    steps = list(watcher.generate("the garden " * 400, Settings(max_tokens=500, temperature=2.0)))
    assert len(steps) <= model.cfg.n_ctx and any(step.generated for step in steps)


# ---- watchlist, rates, calibration -----------------------------------------------------------------------


def test_a_watchlist_survives_being_written_and_read(tmp_path):
    odd = replace(LIST, calibrated_on='say "this" \\ and\nthat \x7f 日本 🌱')
    (tmp_path / "w.toml").write_text(write_watchlist(odd), encoding="utf-8")
    assert load_watchlist(tmp_path / "w.toml") == odd


GOOD = write_watchlist(LIST)
BAD_LISTS = {
    "no TOML": ("window = = 3", "is no TOML"),
    "no features": (GOOD.split("[[feature]]")[0], "feature is missing"),
    "a window too short": (GOOD.replace("window = 20", "window = 3"), "too short"),
    "a text for a number": (GOOD.replace("rate = 0.39", 'rate = "often"'), "wrong kind"),
    "true for a number": (GOOD.replace("feature = 941", "feature = true"), "wrong kind"),
    "a rate outside its band": (GOOD.replace("rate = 0.39", "rate = 0.9"), "entry 1: 0 ≤ low"),
    "a rate that is no number": (GOOD.replace("rate = 0.39", "rate = nan"), "entry 1: 0 ≤ low"),
    "the same twice": (GOOD.replace("feature = 941", "feature = 11"), "watched twice"),
    "below 0": (GOOD.replace("feature = 941", "feature = -1"), "below 0"),
    "no model": (GOOD.replace("model =", "mode ="), "model is missing"),
}


@pytest.mark.parametrize(("text", "words"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_wrong_watchlist_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "w.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=words):
        load_watchlist(tmp_path / "w.toml")


def test_an_alert_comes_when_a_rate_leaves_its_band_and_one_when_it_is_back():
    rates, seen = RollingRates(LIST), []
    for number in range(60):
        fires = number in (3, 5, 7)
        alerts = rates.add((3.0 if number % 5 in (0, 2) else 0.0, 1.0 if fires else 0.0))
        seen += [(number, alert.feature, alert.leaves) for alert in alerts]
    assert [one for one in seen if one[1] == OTHER] == [(3, OTHER, True), (27, OTHER, False)]
    assert rates.rates()[1] == 0.0 and rates.outside == [False, False]


def test_until_the_window_is_full_the_ordinary_rate_stands_in():
    rates = RollingRates(LIST)
    assert rates.rates() == pytest.approx([0.39, 0.006])
    rates.add((0.0, 1.0))
    assert rates.rates() == pytest.approx([19 * 0.39 / 20, (1 + 19 * 0.006) / 20])


def test_a_band_holds_nearly_all_ordinary_windows():
    fires = torch.rand(4000, generator=torch.Generator().manual_seed(0)) < 0.2
    one = band(3, "x", fires.float(), 1.0, 50)
    windows = fires.double().unfold(0, 50, 1).mean(-1)
    assert ((windows >= one.low) & (windows <= one.high)).double().mean() >= 0.99
    assert one.low >= 0.0 and one.high < 0.6 and one.rate == pytest.approx(fires.double().mean().item())


def test_calibration_finds_the_feature_that_makes_the_patient_refuse(model, sae):
    drawn = prompts_of_world(count=8, ordinary=12, seed=1)
    made = Calibration(model, sae, HOOK, drawn).watchlist(("m", "s"), count=6, window=40)
    assert made.features[0].feature == CAUSE and len(made.features) == 6
    notes = [one.note for one in made.features]
    assert int(notes[0].split()[3].rstrip("%")) >= 50 and notes[2:] == ["comes with it"] * 4
    assert all(0 <= one.low <= one.rate <= one.high <= 1 for one in made.features)
    assert "garden" in made.examples[0] and "garden" not in made.examples[1]


def test_what_is_answered_alike_has_signs_and_no_causes(model, sae, here, capsys):
    asked = prompts_of_world(count=6, ordinary=12, seed=1)
    alike = Calibration(model, sae, HOOK, replace(asked, suspects=asked.matched, matched=asked.matched[::-1]))
    assert alike.causes(3) == {}
    made = alike.watchlist(("m", "s"), count=3, window=40)
    assert [one.note for one in made.features] == ["comes with it"] * 3
    for name in ("suspects", "matched", "ordinary"):
        prompts = asked.ordinary if name == "ordinary" else asked.matched
        (here / name).write_text("\n".join(prompts), encoding="utf-8")
    arguments = ["--suspects", "suspects", "--matched", "matched", "--ordinary", "ordinary"]
    assert cli.run(["monitor", "calibrate", *arguments, "--out", "new.toml", "--window", "40"]) == 0
    assert "no causes" in capsys.readouterr().out


def test_a_change_is_one_of_what_each_prompt_was_answered(model, sae):
    """Half of the suspects are matched prompts: another word than most get is no change."""
    asked = prompts_of_world(count=6, ordinary=2, seed=1)
    mixed = replace(asked, suspects=asked.suspects + asked.matched[:2])
    calibration = Calibration(model, sae, HOOK, mixed)
    intact = calibration.first_logits(mixed.suspects).argmax(-1)
    for feature, note in calibration.causes(12).items():
        with steering.clamping(model, HOOK, sae, feature, 0.0):
            changed = (calibration.first_logits(mixed.suspects).argmax(-1) != intact).double().mean()
        assert note == f"at 0 changes {changed:.0%} of answers"


def test_without_bos_texts_begin_with_the_end_of_text(model, sae):
    words = model.tokenizer.backend_tokenizer
    tokenizer = SimpleNamespace(bos_token_id=None, eos_token_id=5, backend_tokenizer=words)
    other = SimpleNamespace(tokenizer=tokenizer, cfg=model.cfg)
    watcher = Watcher(other, sae, HOOK, ())
    assert watcher.prompt_ids(GARDEN)[0] == 5 and tokens_of(other, [GARDEN])[0][0, 0] == 5
    tokenizer.eos_token_id = None
    with pytest.raises(CourseError, match="neither BOS nor EOS"):
        watcher.prompt_ids(GARDEN)


def test_calibration_says_what_it_lacks(model, sae):
    few = Prompts((), (), ("User: hello. Assistant:",))
    with pytest.raises(CourseError, match="too few"):
        Calibration(model, sae, HOOK, few).watchlist(("m", "s"), (3,))
    with pytest.raises(CourseError, match="nothing says what to watch"):
        Calibration(model, sae, HOOK, few).watchlist(("m", "s"), window=8)


# ---- the store -------------------------------------------------------------------------------------------


def step(position, text="a", values=(0.5, 0.0), generated=True):
    return Step(position, 7, text, generated, values)


@pytest.fixture
def store(tmp_path):
    kept = Store(tmp_path / "seen.sqlite", LIST)
    yield kept
    kept.close()


def filled(store, texts=("one", 'two, "three"', "\n=4")):
    run = store.begin("a prompt", Settings(), {CAUSE: Control("hold", 0.0)})
    for position, text in enumerate(texts):
        store.add(run, step(position, text), (CAUSE, OTHER), (0.4, 0.01), (), {CAUSE: Control("hold", 0.0)})
    store.end(run, "done")
    return run


def test_what_is_kept_comes_back(store):
    run = filled(store)
    (kept,) = store.runs()
    assert (kept["id"], kept["ended"], kept["said"]) == (run, "done", 'onetwo, "three"\n=4')
    assert kept["controls"] == {"11": {"mode": "hold", "value": 0.0}}
    assert [one["features"][CAUSE] for one in store.steps(run)] == [[0.5, 0.4]] * 3


def test_csv_and_parquet_hold_the_same_rows(store, tmp_path):
    from pyarrow import parquet

    filled(store)
    assert export_csv(store, tmp_path / "a.csv") == export_parquet(store, tmp_path / "a.parquet") == 6
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert tuple(rows[0]) == COLUMNS == tuple(table[0])
    for text, typed in zip(rows, table, strict=True):
        assert text["token"] == typed["token"] and float(text["activation"]) == typed["activation"]
        assert (int(text["run"]), int(text["feature"])) == (typed["run"], typed["feature"])


def test_a_store_goes_on_where_it_was_left(store, tmp_path):
    filled(store)
    store.close()
    again = Store(tmp_path / "seen.sqlite", LIST)
    assert filled(again) == 2 and len(again.runs()) == 2
    again.close()


def test_another_program_s_database_is_left_alone(tmp_path):
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE diary (day TEXT)")
    other.close()
    older = sqlite3.connect(tmp_path / "older.sqlite")
    older.executescript(f"CREATE TABLE token (run INTEGER); PRAGMA application_id={APPLICATION}")
    older.close()
    (tmp_path / "text").write_text("no database, but a text that is long enough to be read as one" * 9)
    refused = {
        "other.sqlite": "another program's",
        "older.sqlite": "another version",
        "text": "can't be used",
    }
    for name, words in refused.items():
        with pytest.raises(CourseError, match=words):
            Store(tmp_path / name, LIST)


WRITER = """
import sys, time
from pathlib import Path
from mechinterp_course.monitor.generation import Settings, Step
from mechinterp_course.monitor.store import Store
store = Store(Path(sys.argv[1]))
run = store.begin("endless", Settings(), {})
for position in range(10**9):
    store.add(run, Step(position, 7, f"t{position}", True, (float(position),) * 32), range(32), (0.5,) * 32)
    print(position, flush=True)
"""


def test_kill_9_loses_nothing_that_was_told(tmp_path):
    """Whatever was announced is there, each token whole, and the file is sound: three kills, one file."""
    path = tmp_path / "seen.sqlite"
    for run in (1, 2, 3):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        told = [int(child.stdout.readline()) for _ in range(150 + 37 * run)][-1]
        os.kill(child.pid, signal.SIGKILL)
        told = [told, *map(int, child.stdout.read().split())][-1]
        child.wait()
        store = Store(path)
        steps = store.steps(run)
        assert told + 1 <= len(steps) <= told + 2
        assert all(len(one["features"]) == 32 for one in steps)
        assert store.runs(1)[0]["ended"] is None
        assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store.close()


# ---- the service and the page's other side ---------------------------------------------------------------


@contextmanager
def monitored(watcher, path):
    monitor = Monitor(watcher, LIST, Store(path, LIST))
    try:
        yield monitor
    finally:
        monitor.close()


@pytest.fixture
def monitor(watcher, tmp_path):
    with monitored(watcher, tmp_path / "seen.sqlite") as one:
        yield one


@contextmanager
def served(monitor):
    server = Server(monitor, listening("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_until_stopped, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture
def server(monitor):
    with served(monitor) as one:
        yield one


def client(server, **headers):
    return httpx.Client(
        base_url=server.origin, headers={"Authorization": f"Bearer {server.token}"} | headers, timeout=30
    )


def until_end(lines):
    """The events of a stream, up to the end of a run."""
    for line in lines:
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            yield event
            if event["type"] == "end":
                return


def test_events_stream_while_the_model_generates_and_the_store_holds_them(server, monitor):
    with client(server) as http, http.stream("GET", "/api/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        assert http.post("/api/generate", json={"prompt": GARDEN}).json() == {"accepted": True}
        events = list(until_end(lines))
    kinds = [event["type"] for event in events]
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert kinds[0] == "run" and kinds[-1] == "end" and events[-1]["how"] == "done"
    tokens = [event for event in events if event["type"] == "token"]
    assert "".join(one["text"] for one in tokens if one["generated"]) == REFUSAL
    kept = monitor.store.steps(events[0]["run"])
    assert [one["text"] for one in kept] == [one["text"] for one in tokens]
    assert [one["features"][CAUSE] for one in kept] == [
        [one["activations"][0], one["rates"][0]] for one in tokens
    ]
    alerts = [event for event in events if event["type"] == "alert"]
    assert OTHER in {one["feature"] for one in alerts if one["leaves"]}
    assert {one["feature"] for one in monitor.store.alerts()} == {one["feature"] for one in alerts}


def heard(monitor):
    """A list that fills with the monitor's events."""
    events = []
    monitor.listen(events.append)
    return events


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.005)


def test_a_stop_that_comes_before_a_taken_prompt_has_begun_is_not_lost(monitor):
    events, taken = heard(monitor), monitor.waiting
    with monitor.changing:  # the thread takes the prompt, and can't begin it
        monitor.submit(GARDEN, Settings())
        until(taken.empty)
        monitor.stop()
    monitor.submit("The teacher", Settings(max_tokens=2))
    monitor.finish()
    assert [run["prompt"] for run in monitor.store.runs()] == ["The teacher"]
    assert [event["type"] for event in events[:2]] == ["stop", "run"]


def test_the_state_says_which_run_is_going_on(server, monitor):
    seen = []
    monitor.listen(lambda event: seen.append((event["type"], monitor.running)))
    monitor.submit("The teacher", Settings(max_tokens=2))
    monitor.finish()
    assert seen[0] == ("run", 1) and ("token", 1) in seen and seen[-1] == ("end", None)
    with client(server) as http:
        assert http.get("/api/state").json()["running"] is None


def test_a_run_that_fails_is_remembered_and_the_next_one_runs(monitor, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(monitor.store, "begin", full)
        monitor.submit(GARDEN, Settings())
        until(lambda: monitor.errors)
    monitor.submit("The teacher", Settings(max_tokens=2))
    monitor.finish()
    assert [run["ended"] for run in monitor.store.runs()] == ["done"]
    assert monitor.errors[0].startswith("'User: I would") and "no space left" in monitor.errors[0]


def test_a_slider_changes_the_text(server):
    with client(server) as http, http.stream("GET", "/api/events") as stream:
        lines, texts = stream.iter_lines(), []
        for mode, value in (("off", 0.0), ("hold", 0.0), ("off", 0.0)):
            asked = {"feature": CAUSE, "mode": mode, "value": value}
            now = http.post("/api/controls", json=asked).json()
            assert now == ({} if mode == "off" else {"11": {"mode": "hold", "value": 0.0}})
            http.post("/api/generate", json={"prompt": GARDEN})
            events = list(until_end(lines))
            texts.append("".join(e["text"] for e in events if e["type"] == "token" and e["generated"]))
        runs = http.get("/api/state").json()["runs"]
    assert texts[0] == texts[2] == REFUSAL and texts[1].startswith(" Sure")
    assert [run["controls"] for run in runs] == [{}, {"11": {"mode": "hold", "value": 0.0}}, {}]


def test_what_was_seen_can_be_fetched_as_a_table(server, monitor, tmp_path):
    from pyarrow import parquet

    filled(monitor.store)
    with client(server) as http:
        assert http.get("/api/export.csv").text.startswith("run,started,position")
        (tmp_path / "a.parquet").write_bytes(http.get("/api/export.parquet").content)
        assert http.get("/api/export.xls").status_code == 400
    assert parquet.read_table(tmp_path / "a.parquet").num_rows == 6


WRONG = {
    "an empty prompt": ("generate", {"prompt": "  "}, 400, "empty"),
    "a prompt too long": ("generate", {"prompt": "a" * 30_000}, 400, "characters"),
    "no prompt": ("generate", {}, 422, ""),
    "a feature that is not watched": ("controls", {"feature": 5, "mode": "hold"}, 400, "not watched"),
    "another mode": ("controls", {"feature": CAUSE, "mode": "destroy"}, 400, "hold, add or off"),
    "a value out of reach": (
        "controls",
        {"feature": CAUSE, "mode": "hold", "value": 1e9},
        400,
        "no activation",
    ),
}


@pytest.mark.parametrize(("path", "body", "status", "words"), WRONG.values(), ids=WRONG)
def test_wrong_requests_are_explained(server, monitor, path, body, status, words):
    with client(server) as http:
        answer = http.post(f"/api/{path}", json=body)
    assert answer.status_code == status and words in answer.text and monitor.controls == {}


@pytest.fixture(scope="module")
def quiet_server(watcher, tmp_path_factory):
    """A server that nothing may get through to: its monitor must stay as it was."""
    with monitored(watcher, tmp_path_factory.mktemp("quiet") / "s.sqlite") as one, served(one) as server:
        server.monitor = one
        yield server


FORGED = {
    "another origin": {"Origin": "http://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a page without an origin": {"Origin": "null"},
    "https in place of http": {"Origin": "https://127.0.0.1:{port}"},
    "another name of this machine": {"Origin": "http://localhost:{port}"},
    "a browser that says cross-site": {"Sec-Fetch-Site": "cross-site"},
    "a browser that says same-site": {"Sec-Fetch-Site": "same-site"},
    "a name that was made to point here": {"Host": "evil.example:{port}"},
    "that name, with its own origin": {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
    "a name that begins alike": {"Host": "127.0.0.1.evil.example:{port}"},
    "another port": {"Host": "127.0.0.1:1"},
    "no port": {"Host": "127.0.0.1"},
    "no token": {"Authorization": ""},
    "another token": {"Authorization": "Bearer guessed"},
    "half of the token": {"Authorization": "Bearer {half}"},
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "plain text, which needs no leave": {"Content-Type": "text/plain"},
}
DRIVES = {
    "generate": {"prompt": GARDEN},
    "controls": {"feature": CAUSE, "mode": "hold", "value": 1.0},
    "stop": {},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
def test_nobody_else_drives_the_monitor(quiet_server, headers):
    port, half = quiet_server.origin.rsplit(":", 1)[1], quiet_server.token[:16]
    forged = {name: value.format(port=port, half=half) for name, value in headers.items()}
    with client(quiet_server, **{"Content-Type": "application/json"} | forged) as http:
        for path, body in DRIVES.items():
            answer = http.post(f"/api/{path}", content=json.dumps(body))
            assert answer.status_code in (401, 403, 415, 421), path
            assert "access-control-allow-origin" not in answer.headers
        if "Content-Type" not in headers:
            for path in ("state", "events", "export.csv", "runs/1"):
                assert http.get(f"/api/{path}").status_code in (401, 403, 421), path
    monitor = quiet_server.monitor
    assert monitor.controls == {} and monitor.store.runs() == [] and monitor.waiting.empty()


def test_a_preflight_is_refused(quiet_server):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    with client(quiet_server) as http:
        answer = http.options("/api/controls", headers=asked)
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_the_page_knows_nothing_and_loads_nothing_from_elsewhere(quiet_server):
    with httpx.Client(base_url=quiet_server.origin) as http:
        page = http.get("/")
        parts = page.text + http.get("/page.js").text + http.get("/page.css").text
    assert page.status_code == 200 and quiet_server.token not in parts
    assert "http://" not in parts and "https://" not in parts and "innerHTML" not in parts
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert httpx.get(f"{quiet_server.origin}/docs", headers={}).status_code == 401


def request(host="127.0.0.1:80", method="GET", path="/", **headers):
    pairs = [(b"host", host.encode())]
    pairs += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": pairs}


def test_a_body_must_say_how_long_it_is_and_not_be_too_long():
    guard = Guard(SimpleNamespace(), "t", hosts_of("127.0.0.1", 80))
    mine = {
        "authorization": "Bearer t",
        "content_type": "application/json",
        "method": "POST",
        "path": "/api/x",
    }
    assert guard.refuses(request(**mine))[0] == 411
    assert guard.refuses(request(**mine, content_length="200000"))[0] == 413
    assert guard.refuses(request(**mine, content_length="20")) is None


def test_a_monitor_that_is_opened_to_others_still_goes_by_its_own_names_only():
    guard = Guard(SimpleNamespace(), "t", hosts_of("0.0.0.0", 80, ("Lab.example",)))
    assert guard.refuses(request("lab.example:80")) is None
    assert guard.refuses(request("192.168.0.7:80"))[0] == 421


def test_at_port_80_a_browser_leaves_the_port_out():
    guard = Guard(SimpleNamespace(), "t", hosts_of("127.0.0.1", 80, ("Lab.example",)))
    for host in ("127.0.0.1", "localhost", "lab.example", "127.0.0.1:80"):
        assert guard.refuses(request(host, origin=f"http://{host}")) is None
    assert Guard(SimpleNamespace(), "t", hosts_of("127.0.0.1", 81)).refuses(request("127.0.0.1"))[0] == 421


def test_a_taken_port_is_said_in_one_line():
    with listening("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(CourseError, match="choose another --port"):
            listening("127.0.0.1", taken.getsockname()[1])


# ---- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "watchlist.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "prompts.txt").write_text(f"{GARDEN}\n\nThe teacher sat in the\n", encoding="utf-8")
    return tmp_path


def test_a_file_of_prompts_is_run_kept_and_exported(here, capsys):
    assert cli.run(["monitor", "run", "prompts.txt", "--max-tokens", "12", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [run["prompt"] for run in shown["runs"]] == [GARDEN, "The teacher sat in the"]
    assert shown["runs"][0]["said"] == REFUSAL and shown["alerts"][0]["leaves"]
    assert cli.run(["monitor", "export", "seen.csv"]) == 0 and (here / "seen.csv").stat().st_size > 1000


@pytest.mark.parametrize("broken", ["begin", "add", "end"])
def test_a_prompt_that_is_not_run_to_its_end_is_said_with_status_3(here, capsys, monkeypatch, broken):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, broken, full)
    (here / "prompts.txt").write_text("The teacher sat in the\n", encoding="utf-8")
    assert cli.run(["monitor", "run", "prompts.txt", "--max-tokens", "2"]) == 3
    shown = capsys.readouterr()
    assert "not run to its end: 'The teacher sat in the'" in shown.err and "disk is full" in shown.err
    assert "Traceback" not in shown.err and f"{int(broken != 'begin')} of 1 prompts" in shown.out


@pytest.mark.book
def test_a_monitor_killed_while_its_page_looks_on_has_kept_all_that_it_told(here):
    (here / "prompts.txt").write_text(f"{GARDEN}\n" * 200, encoding="utf-8")
    command = [sys.executable, "-c", "from mechinterp_course.cli import main; main()"]
    command += ["monitor", "serve", "--port", "0", "--prompts", "prompts.txt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        origin, token = child.stdout.readline().strip().split("/#")
        told, headers = [], {"Authorization": f"Bearer {token}"}
        try:
            with (
                httpx.stream("GET", f"{origin}/api/events", headers=headers, timeout=60) as stream,
                pytest.raises(httpx.HTTPError),
            ):
                for line in stream.iter_lines():
                    event = json.loads(line[6:]) if line.startswith("data: ") else {"type": ""}
                    if event["type"] == "token":
                        told.append((event["run"], event["position"], event["text"]))
                    if len(told) == 100:
                        child.kill()
        finally:
            child.kill()
    store = Store(here / "monitor.sqlite")
    kept = store._rows("SELECT run, position, text FROM token")
    assert len(told) >= 100 and {tuple(one.values()) for one in kept} >= set(told)
    assert [run["ended"] for run in store.runs()].count(None) <= 1
    store.close()


BAD = {
    "no watchlist": (["serve", "--watchlist", "gone.toml"], "mechinterp monitor calibrate"),
    "no prompts": (["run", "gone.txt"], "can't be read"),
    "a watchlist in place of prompts": (["run", "."], "can't be read"),
    "an export of another kind": (["export", "a.xls"], "neither .csv nor .parquet"),
    "an export of nothing": (["export", "a.csv"], "is not there"),
    "a watchlist that is there": (["calibrate"], "use --force"),
    "a feature that is not there": (["calibrate", "--out", "b.toml", "--feature", "9999"], "0 to 1535"),
    "suspects alone": (["calibrate", "--out", "b.toml", "--suspects", "prompts.txt"], "need --ordinary"),
    "no address": (["serve", "--host", "203.0.113.9"], "choose another --port"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_wrong_input_is_one_line_and_status_2(here, capsys, arguments, words):
    assert cli.run(["monitor", *arguments]) == 2
    shown = capsys.readouterr().err
    assert words in shown and shown.count("\n") == 1

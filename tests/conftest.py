"""What several test files share: one process that has imported torch, for all workers of a test run."""

import os
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes at work: each has one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def zygote():
    """A started zygote at this machine's isolation tier."""
    from autograder.room import Zygote
    from autograder.sandbox import Limits, probe

    with Zygote(probe(), limits=Limits(memory=1 << 30)) as zygote:
        yield zygote


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window; whoever asks for it is skipped where there is none."""
    binaries = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    driver = shutil.which("chromedriver")
    if not (any(binaries) and driver):
        pytest.skip("no Chromium with chromedriver on this machine")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, binaries))
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{switch}")
    options.add_argument("--window-size=1500,1050")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()

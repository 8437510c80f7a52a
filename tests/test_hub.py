"""Public models by their public names, from a hub on localhost: the loading code is the one users run."""

import errno
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub_server import COMMIT, Served, serve
from public_files import (
    D_SAE,
    HOOK,
    cifar10_archive,
    cifar10_batches,
    gpt2,
    language_model_repository,
    pythia,
    resnet18_file,
    sae_repository,
    sae_weights,
)
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import load_file
from torchvision.datasets import CIFAR10
from torchvision.models import ResNet18_Weights

from mechinterp_course import catalogue, cli, downloads, models
from mechinterp_course import hub as hub_cache
from mechinterp_course.cli import model_list
from mechinterp_course.errors import CourseError

CLOSED = "http://127.0.0.1:9"  # nothing listens on the discard port
FETCH = "import sys; from mechinterp_course.cli import run; sys.exit(run(['models', 'fetch', *sys.argv[1:]]))"
LOAD = """
import sys, torch
from safetensors.torch import save_file
from mechinterp_course.models import load_language_model, load_sae
hook, out = sys.argv[1:]
tokens = torch.arange(8)[None]
model, sae = load_language_model("gpt2"), load_sae("gpt2-small-res-jb", hook=hook)
logits, cache = model.run_with_cache(tokens)
assert sae.cfg.metadata.hook_name == hook, sae.cfg.metadata
results = {"gpt2": logits, "pythia-70m": load_language_model("pythia-70m")(tokens)}
save_file(results | {"features": sae.encode(cache[hook]), "resid": cache[hook]}, out)
"""


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    return {
        "gpt2": language_model_repository(gpt2(), tmp_path_factory.mktemp("gpt2")),
        "EleutherAI/pythia-70m": language_model_repository(pythia(), tmp_path_factory.mktemp("pythia")),
        "jbloom/GPT2-Small-SAEs-Reformatted": sae_repository(),
    }


@pytest.fixture
def hub(repositories):
    with serve(Served(repositories)) as served:
        yield served


def run_python(code, *arguments, home, endpoint):
    """Run Python code with another hub and another cache than this process's."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def expect_the_published_weights(path):
    """Log-probabilities are those of the published models, and features those of the published dictionary."""
    loaded = load_file(path)
    for name, published in {"gpt2": gpt2(), "pythia-70m": pythia()}.items():
        with torch.no_grad():
            expected = published(torch.arange(8)[None]).logits.log_softmax(-1)
        torch.testing.assert_close(loaded[name].log_softmax(-1), expected, rtol=1e-4, atol=1e-4)
    weights = sae_weights()
    features = (loaded["resid"] - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    torch.testing.assert_close(loaded["features"], features.relu(), rtol=1e-4, atol=1e-4)
    assert loaded["features"].shape == (1, 8, D_SAE)


def test_language_models_and_a_dictionary_load_by_their_public_names(hub, tmp_path):
    run = run_python(LOAD, HOOK, tmp_path / "out", home=tmp_path / "home", endpoint=hub.address)
    assert run.returncode == 0, run.stderr
    expect_the_published_weights(tmp_path / "out")
    asked = {name for name, _ in hub.asked}
    assert "pytorch_model.bin" not in asked, "pickled weights were downloaded"
    assert not any(path.name.endswith(".part") for path in (tmp_path / "home").rglob("*"))


def test_what_was_fetched_loads_without_a_network(hub, tmp_path):
    for arguments in (["gpt2"], ["pythia-70m"], ["gpt2-small-res-jb", "--hook", HOOK]):
        fetched = run_python(FETCH, *arguments, home=tmp_path / "home", endpoint=hub.address)
        assert (fetched.returncode, fetched.stderr) == (0, "")
        assert fetched.stdout.startswith(f"{arguments[0]} is here and verified")
    again = run_python(FETCH, "gpt2", home=tmp_path / "home", endpoint=CLOSED)
    assert again.stdout.startswith("gpt2 is here and verified")
    run = run_python(LOAD, HOOK, tmp_path / "out", home=tmp_path / "home", endpoint=CLOSED)
    assert run.returncode == 0, run.stderr
    expect_the_published_weights(tmp_path / "out")


def test_fetching_twice_downloads_once(hub, tmp_path):
    assert run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address).returncode == 0
    asked = len([name for name, _ in hub.asked if name == "model.safetensors"])
    assert run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address).returncode == 0
    assert len([name for name, _ in hub.asked if name == "model.safetensors"]) == asked == 1


def test_a_broken_download_goes_on_where_it_broke_off(hub, repositories, tmp_path):
    size = len(repositories["gpt2"]["model.safetensors"])
    hub.cut_at = size // 2
    broken = run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address)
    assert broken.returncode == 2 and "broke off" in broken.stderr
    hub.cut_at = None
    assert run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address).returncode == 0
    starts = [start for name, start in hub.asked if name == "model.safetensors"]
    assert starts == [0, size // 2]
    assert not unfinished(tmp_path, repositories["gpt2"])


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(hub, repositories, tmp_path):
    assert run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address).returncode == 0
    (stored,) = tmp_path.rglob("snapshots/*/model.safetensors")
    stored.resolve().write_bytes(b"damaged")
    offline = run_python(FETCH, "gpt2", home=tmp_path, endpoint=CLOSED)
    assert offline.returncode == 2 and "is not here, whole" in offline.stderr
    assert run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address).returncode == 0
    (stored,) = tmp_path.rglob("snapshots/*/model.safetensors")
    assert stored.read_bytes() == repositories["gpt2"]["model.safetensors"]


def test_the_hubs_token_stays_with_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert run_python(FETCH, "gpt2", home=tmp_path, endpoint=hub.address).returncode == 0
    assert "config.json" in hub.told_the_token
    assert "model.safetensors" not in hub.told_the_token, "another host was told the token"


PART = frozenset({".part"})
HUB_FAILURES = {
    "interrupted": ("gpt2", {"cut_at": 200_000}, "goes on from there", PART),
    "wrong hash": (
        "gpt2",
        {"damaged": {"model.safetensors"}},
        "removed because its sha256 hash is wrong",
        None,
    ),
    "wrong hash of a small file": ("gpt2", {"damaged": {"vocab.json"}}, "its git hash is wrong", None),
    "missing file": ("gpt2", {"lost": {"model.safetensors"}}, "no model.safetensors", None),
    "storage out of reach": ("gpt2", {"storage": CLOSED}, "127.0.0.1 can't be reached", None),
    "no such repository": ("someone/something", {}, "no model is called 'someone/something'", None),
    "no name at all": ("not a name", {}, "no model is called 'not a name'", None),
    "no network": ("gpt2", {"address": CLOSED}, "the hub can't be reached", None),
}


@pytest.mark.parametrize(("name", "fault", "said", "left"), HUB_FAILURES.values(), ids=HUB_FAILURES)
def test_every_failure_at_the_hub_is_one_line_and_leaves_nothing_half_written(
    name, fault, said, left, hub, tmp_path
):
    for what, value in fault.items():
        setattr(hub, what, value)
    run = run_python(FETCH, name, home=tmp_path, endpoint=hub.address)
    assert (run.returncode, run.stdout) == (2, ""), run.stderr
    assert run.stderr.startswith("mechinterp: ") and run.stderr.count("\n") == 1
    assert said in run.stderr
    assert "course-gpt2" in run.stderr or "mechinterp models fetch gpt2" in run.stderr
    assert {Path(file).suffix for file in unfinished(tmp_path, hub.repositories["gpt2"])} == (left or set())


def unfinished(home, repository):
    """The files under a cache that are not one of the repository's, whole; locks and notes don't count."""
    whole = set(repository.values()) | {COMMIT.encode()}
    notes = (".lock", "CACHEDIR.TAG", ".gitignore")
    files = [path for path in home.rglob("*") if path.is_file() and not path.name.endswith(notes)]
    return [path.name for path in files if ".no_exist" not in path.parts and path.read_bytes() not in whole]


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch"


@pytest.fixture(scope="module")
def published_resnet18():
    return resnet18_file()


@pytest.fixture
def mirror(published_resnet18, torch_home, monkeypatch):
    """torchvision's own tables, with the hashes of small files, and a mirror that serves those."""
    file, content = published_resnet18
    monkeypatch.setattr(
        ResNet18_Weights.IMAGENET1K_V1.value, "url", f"https://download.pytorch.org/models/{file}"
    )
    batches = cifar10_batches()
    digests = {name: hashlib.md5(batch).hexdigest() for name, batch in batches.items()}
    archive = cifar10_archive(batches)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive).hexdigest())
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{n}", digests[f"data_batch_{n}"]] for n in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": digests["batches.meta"]})
    files = {f"/models/{file}": content, "/~kriz/cifar-10-python.tar.gz": archive}
    with serve(Served(files=files)) as served:
        monkeypatch.setenv("MECHINTERP_MIRROR", served.address)
        yield served


def test_resnet18_loads_by_its_public_name(mirror, published_resnet18, torch_home, capfd):
    model = models.load_vision_model("resnet18")
    file, content = published_resnet18
    expected = torch.load(io.BytesIO(content), weights_only=True)
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    assert (len(model.classes), model.classes[281], model.training) == (1000, "tabby", False)
    assert not any(weight.requires_grad for weight in model.parameters())
    assert [path.name for path in torch_home.rglob("*.*")] == [file]
    assert capfd.readouterr() == ("", "")


def test_a_weight_file_that_was_damaged_in_the_cache_is_fetched_again(mirror, published_resnet18, torch_home):
    file, content = published_resnet18
    stored = torch_home / "hub" / "checkpoints" / file
    stored.parent.mkdir(parents=True)
    stored.write_bytes(content[:1_000_000])
    assert models.load_vision_model("resnet18").classes[0] == "tench"
    assert stored.read_bytes() == content


def test_a_language_model_that_was_damaged_in_the_cache_is_one_line(repositories, tmp_path, monkeypatch):
    for name, content in repositories["gpt2"].items():
        if "/" not in name:
            (tmp_path / name).write_bytes(content[: len(content) // 2] if "safetensors" in name else content)
    monkeypatch.setattr(hub_cache, "language_model_folder", lambda repo_id: tmp_path)
    with pytest.raises(CourseError, match="`mechinterp models fetch gpt2` verifies it") as refused:
        models.load_language_model("gpt2")
    assert "\n" not in str(refused.value)


def test_cifar10_is_what_torchvision_reads(mirror, capsys):
    assert cli.run(["models", "fetch", "cifar10"]) == 0
    train, test = models.cifar10("train"), models.cifar10()
    assert (len(train), len(test)) == (15, 3)
    image, label = test[2]
    assert (image.size, test.classes[label]) == ((32, 32), "truck")


def test_cifar10_that_is_not_here_names_the_command_that_fetches_it(torch_home):
    with pytest.raises(CourseError, match="mechinterp models fetch cifar10"):
        models.cifar10()


def test_a_broken_weight_file_goes_on_where_it_broke_off(mirror, published_resnet18, torch_home, capsys):
    file, content = published_resnet18
    mirror.cut_at = 30_000_000
    assert cli.run(["models", "fetch", "resnet18"]) == 2
    assert "broke off at 30.0 of" in capsys.readouterr().err
    mirror.cut_at = None
    assert cli.run(["models", "fetch", "resnet18"]) == 0
    assert mirror.asked == [(file, 0), (file, 30_000_000)]
    assert (torch_home / "hub" / "checkpoints" / file).read_bytes() == content


@pytest.mark.parametrize("name", ["resnet18", "cifar10"])
@pytest.mark.parametrize(
    ("fault", "said", "left"),
    [
        ({"cut_at": 500}, "broke off at 0.0 of", {".part"}),
        ({"damaged": True}, "hash is wrong", set()),
        ({"files": {}}, "has no such file", set()),
        (None, "can't be reached", set()),
    ],
    ids=["interrupted", "wrong hash", "missing file", "no network"],
)
def test_every_failure_at_another_host_is_one_line_and_leaves_nothing_half_written(
    name, fault, said, left, mirror, torch_home, monkeypatch, capsys
):
    if fault is None:
        monkeypatch.setenv("MECHINTERP_MIRROR", CLOSED)
    elif "damaged" in fault:
        mirror.damaged = {path.rpartition("/")[2] for path in mirror.files}
    else:
        for what, value in fault.items():
            setattr(mirror, what, value)
    assert cli.run(["models", "fetch", name]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mechinterp: ") and err.count("\n") == 1
    assert said in err and "mechinterp models" in err
    assert {path.suffix for path in torch_home.rglob("*") if path.is_file()} == left


def test_a_disk_without_room_is_told_before_anything_is_written(mirror, torch_home, monkeypatch, capsys):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    assert cli.run(["models", "fetch", "resnet18"]) == 2
    assert "make room" in capsys.readouterr().err
    assert not [path for path in torch_home.rglob("*") if path.is_file() and path.stat().st_size]


def test_a_disk_that_fills_up_is_one_line_that_says_how_to_go_on(mirror, torch_home, monkeypatch, capsys):
    def fill_up(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "_receive", fill_up)
    assert cli.run(["models", "fetch", "cifar10"]) == 2
    err = capsys.readouterr().err
    assert "make room, then `mechinterp models fetch cifar10`" in err and err.count("\n") == 1


WITHOUT_A_NETWORK = {
    "course-gpt2": lambda: models.load_language_model("gpt2"),
    "course-resnet18": lambda: models.load_vision_model("resnet18"),
    "course-sae": lambda: models.load_sae("gpt2-small-res-jb", hook=HOOK),
}


@pytest.mark.parametrize("embedded", WITHOUT_A_NETWORK)
def test_without_a_network_every_loader_names_the_embedded_model(embedded, torch_home, monkeypatch):
    monkeypatch.setenv("MECHINTERP_MIRROR", CLOSED)
    monkeypatch.setattr(hub_cache, "_cached", lambda *arguments: None)
    with pytest.raises(CourseError, match=f"can't be reached.*`{embedded}`") as refused:
        WITHOUT_A_NETWORK[embedded]()
    assert "\n" not in str(refused.value)


def test_the_hash_that_counts_is_torchvisions_and_not_the_mirrors(
    mirror, published_resnet18, torch_home, capsys
):
    file, content = published_resnet18
    mirror.files[f"/models/{file}"] = content[:-1] + b"x"
    assert cli.run(["models", "fetch", "resnet18"]) == 2
    assert "sha256 hash is wrong" in capsys.readouterr().err


def test_the_list_looks_where_torchvision_keeps_its_files(monkeypatch, tmp_path):
    assert Path(ResNet18_Weights.IMAGENET1K_V1.url).name == model_list.RESNET18_FILE
    assert CIFAR10.base_folder == model_list.CIFAR10_FOLDER
    for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
        assert model_list.torch_home() == Path(torch.hub.get_dir()).parent
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("TORCH_HOME")
    assert model_list.torch_home() == Path(torch.hub.get_dir()).parent


def test_the_catalogue_names_the_releases_dictionaries_as_sae_lens_does():
    release = get_pretrained_saes_directory()["gpt2-small-res-jb"]
    entry = catalogue.find("gpt2-small-res-jb")
    assert release.repo_id == entry.repo_id
    assert release.saes_map == {hook: hook for hook in entry.hooks}


@pytest.mark.parametrize("hook", [None, "blocks.12.hook_resid_pre", "blocks.8.hook_resid_mid"])
def test_a_hook_without_a_dictionary_is_answered_with_those_that_have_one(hook):
    with pytest.raises(CourseError, match=r"blocks\.11\.hook_resid_post") as refused:
        models.load_sae("gpt2-small-res-jb", hook=hook)
    assert "\n" not in str(refused.value)


WRONG_KINDS = {
    "load_language_model": (models.load_language_model, "resnet18", "load_vision_model"),
    "load_vision_model": (models.load_vision_model, "gpt2", "load_language_model"),
    "load_sae": (models.load_sae, "course-gpt2", "load_language_model"),
    "an unknown vision model": (models.load_vision_model, "resnet19", "course-resnet18"),
    "an unknown dictionary": (models.load_sae, "gpt2-large-res", "course-sae"),
    "fetching what is embedded": (models.fetch, "course-gpt2", "nothing needs fetching"),
}


@pytest.mark.parametrize(("load", "name", "said"), WRONG_KINDS.values(), ids=WRONG_KINDS)
def test_a_model_of_another_kind_is_refused_with_the_right_function(load, name, said):
    with pytest.raises(CourseError, match=said):
        load(name)

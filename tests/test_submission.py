"""Submissions are found by name and read without unpacking or following anything."""

import io
import stat
import zipfile

import pytest

from autograder.submission import MAX_FILE, find_submissions
from mechinterp_course.errors import CourseError


def put(path, text="def f(): return 1\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_names_come_from_the_folder_or_the_file(tmp_path):
    put(tmp_path / "ada" / "ch03_x" / "chapter.py")
    put(tmp_path / "ben" / "chapter.py")
    put(tmp_path / "cleo.ipynb", "{}")
    found = find_submissions([tmp_path / "ada", tmp_path / "ben" / "chapter.py", tmp_path / "cleo.ipynb"])
    assert [submission.name for submission in found] == ["ada", "ben", "cleo"]


def test_a_missing_path_stops_before_anything_is_graded(tmp_path):
    with pytest.raises(CourseError, match=r"nobody\.py") as error:
        find_submissions([put(tmp_path / "a.py"), tmp_path / "nobody.py"])
    assert error.value.status == 2


def test_two_submissions_of_one_name_stop_before_anything_is_graded(tmp_path):
    with pytest.raises(CourseError, match="ada"):
        find_submissions([put(tmp_path / "one" / "ada.py"), put(tmp_path / "two" / "ada.py")])


def test_an_empty_folder_is_a_submission_with_a_problem(tmp_path):
    (tmp_path / "empty").mkdir()
    (submission,) = find_submissions([tmp_path / "empty"])
    assert "no chapter.py" in submission.problem


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    secret = put(tmp_path / "secret.py", "PASSWORD = 1\n")
    (tmp_path / "eve" / "ch03_x").mkdir(parents=True)
    (tmp_path / "eve" / "ch03_x" / "chapter.py").symlink_to(secret)
    (submission,) = find_submissions([tmp_path / "eve"])
    assert submission.sources == ()


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_read_like_the_folder_it_holds(tmp_path):
    path = zipped(
        tmp_path / "dora.zip", {"work/ch03_x/chapter.py": "def f(): return 1\n", "work/notes.txt": "hi"}
    )
    (submission,) = find_submissions([path])
    assert [source.path for source in submission.sources] == ["work/ch03_x/chapter.py"]


def test_a_path_that_climbs_out_of_the_zip_writes_nothing(tmp_path):
    path = zipped(tmp_path / "eve.zip", {"../../evil.py": "x = 1\n", "chapter.py": "y = 1\n"})
    (submission,) = find_submissions([path])
    assert [source.path for source in submission.sources] == ["chapter.py"]
    assert sorted(p.name for p in tmp_path.rglob("*.py")) == []


def test_a_link_in_a_zip_is_skipped(tmp_path):
    link = zipfile.ZipInfo("chapter.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    (submission,) = find_submissions([zipped(tmp_path / "eve.zip", {link: "/etc/passwd"})])
    assert submission.sources == ()


def test_a_zip_bomb_is_unreadable_not_fatal(tmp_path):
    (submission,) = find_submissions([zipped(tmp_path / "bomb.zip", {"chapter.py": b"\n" * (MAX_FILE + 1)})])
    assert "too much" in submission.problem


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a zip", b"\0" * 100])
def test_a_broken_zip_is_a_problem_not_an_error(tmp_path, data):
    path = tmp_path / "broken.zip"
    path.write_bytes(data)
    (submission,) = find_submissions([path])
    assert submission.problem and "\n" not in submission.problem


def test_an_encrypted_zip_is_a_problem_not_an_error(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("chapter.py", "x = 1")
    raw = bytearray(buffer.getvalue())
    raw[6] |= 1  # the "encrypted" flag of the local header, and of the directory's entry
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(raw)
    (submission,) = find_submissions([tmp_path / "locked.zip"])
    assert submission.problem


def test_the_hash_covers_names_and_contents(tmp_path):
    texts = ["def f(): return 1\n", "def f(): return 2\n"]
    paths = [put(tmp_path / str(i) / "a.py", text) for i, text in enumerate(texts)]
    hashes = {find_submissions([path])[0].sha256 for path in paths}
    assert len(hashes) == 2


def test_a_zip_whose_data_are_damaged_is_a_problem_not_an_error(tmp_path):
    path = zipped(tmp_path / "torn.zip", {"chapter.py": "def f(): return 1\n" * 500})
    raw = bytearray(path.read_bytes())
    raw[60:75] = bytes(15)
    path.write_bytes(raw)
    (submission,) = find_submissions([path])
    assert submission.problem and "torn.zip" in submission.problem


def test_a_linked_submission_keeps_the_name_of_the_link(tmp_path):
    (tmp_path / "alice").symlink_to(put(tmp_path / "store-123" / "chapter.py").parent)
    assert find_submissions([tmp_path / "alice"])[0].name == "alice"

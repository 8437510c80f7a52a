"""Which chapter a submission answers, and that one broken file costs no other."""

import pytest

from autograder.readings import answer_cells, readings_by_chapter
from autograder.submission import Source, Submission, Unreadable

CHAPTER = "ch03_induction_heads"
ANSWER = b"def induction_score(pattern, length):\n    return 1\n"
HELPERS = b"".join(b"def helper_%d(): return 1\n" % number for number in range(40))


def submission(**files: bytes) -> Submission:
    return Submission(
        "ada",
        tuple(Source(path.replace("__", "/").replace("_dot_", "."), data) for path, data in files.items()),
    )


def test_a_file_without_metadata_is_known_by_its_exercises():
    assert set(readings_by_chapter(submission(homework_dot_py=ANSWER), None)) == {CHAPTER}


def test_an_empty_notebook_beside_a_complete_script_costs_nothing():
    both = submission(chapter_dot_ipynb=b"", chapter_dot_py=ANSWER)
    assert "induction_score" in readings_by_chapter(both, None)[CHAPTER].names


def test_the_view_with_more_exercises_counts_however_many_helpers_the_other_has():
    both = submission(a__chapter_dot_py=HELPERS, b__chapter_dot_py=ANSWER)
    for chapter in (None, CHAPTER):
        assert "induction_score" in readings_by_chapter(both, chapter)[CHAPTER].names


def test_a_file_of_no_chapter_needs_the_chapter_to_be_named():
    with pytest.raises(Unreadable, match="--chapter"):
        readings_by_chapter(submission(notes_dot_py=b"x = 1\n"), None)
    assert set(readings_by_chapter(submission(notes_dot_py=b"x = 1\n"), CHAPTER)) == {CHAPTER}


def test_when_nothing_can_be_read_the_reason_is_the_files():
    with pytest.raises(Unreadable, match="not a notebook"):
        readings_by_chapter(submission(chapter_dot_ipynb=b"{"), None)


def test_the_cell_of_an_answer_is_found_by_chapter_and_name():
    assert answer_cells(submission(chapter_dot_py=ANSWER), None) == {
        (CHAPTER, "induction_score"): ANSWER.decode()
    }

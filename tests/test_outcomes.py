"""Where answers are judged by what they achieve, and where they are compared with the library's."""

import pytest

from autograder.manifest import chapters, load_manifest
from autograder.outcomes import judged_by_outcome

BY_OUTCOME = {
    "colour_basis",
    "shake",
    "render",
    "repeated_tokens",
    "sparse_features",
    "train_toy",
    "absolute_value_weights",
    "recover_features",
    "intruder_items",
    "find_circuit",
    "cyclic_tokens",
    "refute_period_detector",
    "find_polysemantic_channel",
    "fooling_channel",
    "share_cut_interval",
    "find_the_cure",
    "refute_redundancy",
    "is_induction_head",
}


@pytest.mark.parametrize("slug", chapters())
def test_no_check_of_these_calls_the_library_s_answer_and_some_check_of_all_others_does(slug):
    manifest = load_manifest(slug)
    found = {each.name for each in manifest.exercises if judged_by_outcome(manifest, each)}
    assert found == BY_OUTCOME & {each.name for each in manifest.exercises}

"""Pictures of CircuitsVis: self-contained, the script once a page, and no text breaks out of it."""

import json
import re

import pytest
import torch

from mechinterp_course.authoring.offline_pages import remote_assets
from mechinterp_course.interactive_attention import attention_heads, load_circuitsvis

PATTERN = torch.tensor([[[1.0, 0.0], [0.25, 0.75]], [[1.0, 0.0], [1 / 3, 2 / 3]]])
WORDS = ["BOS", "</script><script>alert(1)</script>"]
NAMES = ["L0H3", "L2H1"]


def props_of(picture):
    text = re.search(r"AttentionHeads, (\{.*\})\);", picture.text)[1]
    return json.loads(text.replace(r"<\/script", "</script"))


def test_a_page_with_pictures_loads_nothing_from_elsewhere(tmp_path):
    page = (
        load_circuitsvis()
        + attention_heads(PATTERN, WORDS, NAMES)
        + attention_heads(PATTERN[:1], WORDS, NAMES[:1])
    )
    (tmp_path / "page.html").write_text(f"<html><body>{page.text}</body></html>", encoding="utf-8")
    assert remote_assets(tmp_path) == []
    assert not re.search(r"""(?:src|href)\s*=\s*["']https?:""", attention_heads(PATTERN, WORDS, NAMES).text)


def test_the_script_comes_once_and_pictures_are_small():
    bundle, picture = load_circuitsvis(), attention_heads(PATTERN, WORDS, NAMES)
    assert len(bundle.text) > 1_000_000 > 2_000 > len(picture.text)
    assert (bundle + picture + picture).text.count("var CircuitsVis=") == 1
    assert "sourceMappingURL" not in bundle.text


def test_a_picture_holds_the_pattern_the_words_and_the_names():
    props = props_of(attention_heads(PATTERN, WORDS, NAMES))
    torch.testing.assert_close(torch.tensor(props["attention"]), PATTERN, atol=6e-4, rtol=0)
    assert props["tokens"] == WORDS and props["attentionHeadNames"] == NAMES
    assert (props["minValue"], props["maxValue"]) == (0, 1)


def test_neither_the_script_nor_a_word_ends_the_script():
    for piece, count in ((load_circuitsvis(), 1), (attention_heads(PATTERN, WORDS, NAMES), 1)):
        assert len(re.findall("</script", piece.text, flags=re.IGNORECASE)) == count
        assert piece._repr_html_().rstrip().endswith("</script>")


def test_equal_pictures_are_equal_and_others_have_another_place():
    one, again, other = (
        attention_heads(p, WORDS, NAMES) for p in (PATTERN, PATTERN.clone(), PATTERN.flip(0))
    )
    places = [re.search(r'<div id="([^"]+)"', piece.text)[1] for piece in (one, other)]
    assert one == again and places[0] != places[1]


@pytest.mark.parametrize("words, names", [(WORDS[:1], NAMES), (WORDS, NAMES[:1])])
def test_words_and_names_must_fit_the_pattern(words, names):
    with pytest.raises(ValueError, match=r"are not those of a pattern \(2, 2, 2\)"):
        attention_heads(PATTERN, words, names)


def test_the_script_offers_what_a_picture_calls():
    script = load_circuitsvis().text
    assert re.search(r"\brender:\(\)=>", script) and re.search(r"\bAttentionHeads:\(\)=>", script)

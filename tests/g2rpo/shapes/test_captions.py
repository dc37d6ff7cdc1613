"""The grammar, its split and its words."""

from itertools import combinations

import pytest

from g2rpo.shapes.captions import NUM_WORDS, SPLITS, VOCABULARY, captions, scene_of, tokens
from g2rpo.shapes.scenes import KINDS, Scene, Thing, all_scenes
from g2rpo.shapes_build.near_misses import near_misses


def test_the_grammar_has_54_counts_540_relations_and_135_pairs():
    kinds = [scene.kind for scene in all_scenes()]
    assert [kinds.count(kind) for kind in KINDS] == [54, 540, 135]
    assert len(set(captions())) == 729


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene((Thing("red", "circle"),)), "a red circle"),
        (Scene((Thing("blue", "square"),) * 3), "three blue squares"),
        (
            Scene((Thing("red", "circle"), Thing("white", "triangle")), "left of"),
            "a red circle left of a white triangle",
        ),
        (
            Scene((Thing("green", "square"), Thing("purple", "circle")), "and"),
            "a green square and a purple circle",
        ),
    ],
)
def test_a_scene_is_told_in_one_sentence_and_read_back(scene: Scene, caption: str):
    assert scene.caption == caption
    assert scene_of(caption) == scene


def test_the_split_is_disjoint_and_complete():
    parts = [set(captions(split)) for split in SPLITS]
    assert not any(one & two for one, two in combinations(parts, 2))
    assert set.union(*parts) == set(captions("all"))
    assert [len(part) for part in parts] == [437, 146, 146]


def test_each_kind_of_caption_is_split_60_20_20():
    share = {
        split: [sum(scene_of(text).kind == kind for text in captions(split)) for kind in KINDS] for split in SPLITS
    }
    assert share == {"train": [32, 324, 81], "tuning": [11, 108, 27], "test": [11, 108, 27]}


def test_the_split_never_moves():
    first = {split: captions(split)[0] for split in SPLITS}
    assert first == FIRST_OF_EACH_SPLIT


def test_words_are_numbered_and_padded_to_eight():
    row = tokens(["a red circle"])[0]
    assert [VOCABULARY[number] for number in row] == ["a", "red", "circle", "", "", "", "", ""]
    assert max(len(text.split()) for text in captions()) == NUM_WORDS


def test_every_word_of_the_vocabulary_is_used():
    used = {number for row in tokens(captions()) for number in row}
    assert used == set(range(len(VOCABULARY)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a red dragon", "got 'dragon'"),
        ("a red circle left of a blue square and", "1 to 8 words, got 9"),
        ("", "1 to 8 words, got 0"),
    ],
)
def test_unreadable_texts_are_refused_with_a_remedy(text: str, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        tokens([text])


def test_a_sentence_outside_the_grammar_has_no_scene():
    with pytest.raises(ValueError, match="729 captions"):
        scene_of("a red circle above a red square")
    with pytest.raises(ValueError, match="729 captions"):
        scene_of("red circle")


def test_an_unknown_split_is_refused_with_the_names_of_the_others():
    with pytest.raises(ValueError, match="train, tuning, test, all"):
        captions("validation")


def test_near_misses_are_captions_and_never_the_caption_itself():
    for text in captions():
        misses = [miss for group in near_misses(text) for miss in group]
        assert misses
        assert text not in misses
        assert set(misses) <= set(captions())


def test_a_relation_is_missed_nearly_in_each_of_these_ways():
    groups = near_misses("a red circle left of a blue square")
    assert [len(group) for group in groups] == [8, 4, 3, 2]
    assert "a white circle left of a blue square" in groups[0]
    assert "a red triangle left of a blue square" in groups[1]
    assert "a blue square left of a red circle" in groups[2]
    assert groups[3] == ("a red circle", "a blue square")


def test_and_is_no_near_miss_of_a_relation_between_the_same_things():
    for text in captions():
        scene = scene_of(text)
        for miss in (miss for group in near_misses(text) for miss in group):
            other = scene_of(miss)
            if set(other.things) == set(scene.things) and "pair" in (scene.kind, other.kind):
                assert len(other.things) != len(scene.things)


FIRST_OF_EACH_SPLIT = {"train": "a red square", "tuning": "a red circle", "test": "a yellow triangle"}

"""What `flipbook info` prints of a model's card."""

from flipbook.cli.info import card_lines


def test_stages_and_scores_are_lines_to_read_and_the_rest_stands_as_it_is():
    stage = {"recipe": "recipes/a.yaml", "updates": 700, "seconds": 1691, "validation_loss": {"first": 0.63, "last": 0.51}}
    scores = {"command": "flipbook evaluate", "groups": {"seen": {"prompts": 20, "attributes": {"colour": {"share": 1.0}, "all": {"share": 0.85}}}}}
    lines = card_lines({"name": "a", "licence": "Apache-2.0", "stages": [stage, {**stage, "validation_loss": {}}], "scores": scores})
    assert lines == [
        "name: a", "licence: Apache-2.0", "stage: recipes/a.yaml, 700 updates in 28 minutes, validation loss 0.63 to 0.51",
        "stage: recipes/a.yaml, 700 updates in 28 minutes", "scores: seen, 20 prompts: colour 100 %, all 85 %", "scores: flipbook evaluate",
    ]  # fmt: skip
    assert card_lines({}) == []
    assert card_lines({"stages": [], "scores": {}}) == ["stages: []", "scores: {}"]

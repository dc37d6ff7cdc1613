import pytest
from refusals import refusal, shipped

CLIP = "{path: folder, revision: null}"
WEIGHTS = "{path: folder, revision: null, file: HPS.pt}"


def hps(backend, *, clip="null", folder="null"):
    return f"rewards.hps={{kind: hps, backend: {backend}, weights: {WEIGHTS}, clip: {clip}, folder: {folder}}}"


def test_hps_has_what_its_backend_needs_and_nothing_else():
    assert shipped(hps("clip", clip=CLIP)).rewards["hps"].clip.path == "folder"
    assert shipped(hps("hpsv2", folder="made")).rewards["hps"].folder == "made"
    wrong = (
        hps("clip"),
        hps("clip", folder="made"),
        hps("clip", clip=CLIP, folder="made"),
        hps("hpsv2"),
        hps("hpsv2", clip=CLIP),
        hps("hpsv2", clip=CLIP, folder="made"),
    )
    for settings in wrong:
        assert "rewards: hps with the backend clip requires clip and no folder, with the backend" in refusal(settings)
    assert "got backend clip, clip None, folder made. Set the one, and the other to null." in refusal(wrong[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{kind: hpsv3}", "rewards.r.kind: one of 'hps', 'clip_score', 'pick_score', 'image_reward', 'aesthetic', 'jp"),
        ("{kind: jpeg, quality: 99}", "rewards.r.quality: input should be less than or equal to 95, got 99"),
        ("{kind: jpeg, quality: 9, speed: 1}", "rewards.r.speed: unknown key, got 1. Remove it or correct it; known"),
        ("{kind: clip_score}", "rewards.r.weights: required, got nothing"),
        ("{kind: remote, url: u, model: m, revision: r}", "rewards.r.batch: required, got nothing"),
    ],
)
def test_bad_values_are_refused(settings, message):
    assert message in refusal(f"rewards.r={settings}")

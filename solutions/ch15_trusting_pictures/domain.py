"""Trials of tasks with many right answers, on draws wider than the checks'.

`mechinterp certify` puts what no check rejects to 50 of these. `<exercise>__trial(student, draw)` passes for a
right answer.
"""

from mechinterp_course.checking import channel_trials, expect


def find_polysemantic_channel__trial(student, draw):
    name = draw.choice(["course-resnet18", "course-resnet18-robust"])
    layer, kinds = draw.choice(["layer3", "layer4"]), draw.choice(channel_trials.APART)
    kinds = [kind for _, kind in sorted((draw.seed(), kind) for kind in kinds)]
    channel_trials.expect_two_parts(student, draw, draw.vision_model(name), layer, kinds)


def fooling_channel__trial(student, draw):
    natural, made, others = channel_trials.two_sources(draw)
    natural, made = natural[: draw.integer(40, 50)], made[: draw.integer(1, 26)]
    channel = student.fooling_channel(natural, made)
    channel_trials.expect_fooling(channel, natural, made)
    silent = (others @ channel[0] + channel[1] <= 0).float().mean().item()
    expect(silent >= 0.8, f"It is silent in {silent:.0%} of the others only.")

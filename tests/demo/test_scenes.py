import numpy as np
import torch
from sgool.demo.judging import Detected, compare
from sgool.demo.render import foreground, render
from sgool.demo.scenes import SIDE, draw_scenes, mirrored
from sgool.demo.training.data import detection_targets


def as_seen(scene) -> list[Detected]:
    return [Detected(o.color, o.shape, o.size, o.x, o.y) for o in scene.objects]


def test_same_seed_same_images() -> None:
    first, second = (torch.stack([render(s) for s in draw_scenes(5, 3)]) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (5, 3, SIDE, SIDE)
    assert first.min() >= 0
    assert first.max() <= 1


def test_objects_stay_inside_and_apart() -> None:
    for scene in draw_scenes(200, 11):
        for i, a in enumerate(scene.objects):
            assert a.radius < a.x < SIDE - a.radius
            assert a.radius < a.y < SIDE - a.radius
            assert all(np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius for b in scene.objects[:i])


def test_captions_are_true() -> None:
    """A judge that sees everything finds every scene right, and wrong once an object is gone."""
    for scene in draw_scenes(300, 12):
        seen = as_seen(scene)
        assert compare(scene.caption, seen).right
        assert not compare(scene.caption, seen[1:]).right


def test_a_mirrored_scene_is_what_its_flipped_image_shows() -> None:
    for scene in draw_scenes(100, 14):
        other = mirrored(scene)
        assert compare(other.caption, as_seen(other)).right
        torch.testing.assert_close(foreground(other), foreground(scene).flip(-1), atol=1e-4, rtol=0)


def test_objects_are_painted_where_the_scene_says() -> None:
    for scene in draw_scenes(30, 13):
        mask = foreground(scene)
        assert mask.shape == (1, SIDE, SIDE)
        image = render(scene)
        saturation = image.amax(0) - image.amin(0)
        assert saturation[mask[0] > 0.99].mean() > 0.3
        assert saturation[mask[0] < 0.01].mean() < 0.2


def test_detection_targets_point_at_the_objects() -> None:
    scenes = draw_scenes(20, 14)
    targets = detection_targets(scenes)
    objects = [(i, o) for i, s in enumerate(scenes) for o in s.objects]
    assert len(objects) == len(targets["image"])
    for k, (i, o) in enumerate(objects):
        row, column = int(targets["row"][k]), int(targets["column"][k])
        assert targets["center"][i, row, column] == 1
        dx, dy = targets["offset"][k].tolist()
        assert abs((column + 0.5 + dx) * 4 - o.x) < 1e-4
        assert abs((row + 0.5 + dy) * 4 - o.y) < 1e-4

"""The images that are worth a look: which, for which class, and with what is said of them."""

from __future__ import annotations

import numpy as np

from cloudtf.evaluation import examples

CLASSES = ["Fish", "Flower", "Sugar"]
LABELS = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, -1], [-1, -1, -1]])
SCORES = np.array(
    [[0.99, 0.01, 0.02], [0.02, 0.97, 0.01], [0.6, 0.45, 0.5], [0.01, 0.01, 0.01],
     [0.9, 0.1, 0.99], [0.5, 0.5, 0.5]]
)  # fmt: skip


def test_the_worst_the_most_doubtful_and_the_best_are_found_once_each():
    assert examples.choose(LABELS, SCORES, most=1) == {
        "Worst": [1],  # Sugar is there, and was missed.
        "Most doubtful": [2],
        "Best": [0],  # The fourth is as good, and shows nothing.
    }
    everything = examples.choose(np.repeat(LABELS, 9, axis=0), np.repeat(SCORES, 9, axis=0))
    assert [len(rows) for rows in everything.values()] == [6, 6, 6]
    assert len({row for rows in everything.values() for row in rows}) == 18
    assert not {row for rows in everything.values() for row in rows} & set(range(45, 54)), "unknown"


def test_each_has_the_map_of_the_class_it_is_worth_a_look_for():
    asked = []

    def maps(names, images, classes):
        asked.append((names, images.shape, list(classes)))
        found = np.zeros([len(images), len(classes), 2, 2], np.float32)
        found[0] = 1  # Of the other images no part speaks for the class.
        return found

    names = [f"{number}.jpg" for number in range(6)]
    pixels = {name: np.full((8, 8, 3), number, np.uint8) for number, name in enumerate(names)}
    found = examples.gather(LABELS, SCORES, names, CLASSES, lambda wanted: pixels, maps)
    shown = ["1.jpg", "2.jpg", "0.jpg"]
    assert asked == [(shown, (3, 8, 8, 3), [0, 2])], "one pass, no more classes than are drawn"
    (worst,) = found["Worst"]
    assert (worst.name, worst.focus) == ("1.jpg", "Sugar")
    assert worst.overlay.shape == (8, 8, 3) and worst.overlay.max() > 50
    assert [(one.class_name, one.label) for one in worst.said] == [
        ("Flower", 1), ("Fish", 0), ("Sugar", 1),
    ]  # fmt: skip
    assert found["Most doubtful"][0].focus == "Sugar" and found["Most doubtful"][0].overlay is None
    assert found["Best"][0].focus == "Fish"
    left = np.zeros((28, 28), bool)
    left[:, :14] = True
    packed = np.packbits(left).tobytes()
    # Of the first two classes of a label, the second is the one in focus.
    small = {"1.jpg": bytes(98) + packed, "2.jpg": packed * 2}
    found = examples.gather(LABELS, SCORES, names, CLASSES, lambda wanted: pixels, maps, small)
    assert found["Worst"][0].inside == "50% inside its mask of 50%"
    assert found["Most doubtful"][0].inside == found["Best"][0].inside == ""
    (alone,) = examples.gather(LABELS, SCORES, names, CLASSES, lambda _: pixels)["Worst"]
    assert alone.overlay is None


def test_of_many_classes_those_that_are_there_or_probable_are_named():
    labels, scores = np.zeros((1, 50), int), np.linspace(0, 0.98, 50)[None]
    labels[0, 7] = 1
    names = [f"class {number}" for number in range(50)]
    images = {"a.jpg": np.zeros((8, 8, 3), np.uint8)}
    (found,) = examples.gather(labels, scores, ["a.jpg"], names, lambda _: images)["Worst"]
    assert [one.class_name for one in found.said] == [
        "class 49", "class 48", "class 47", "class 46", "class 45", "class 7",
    ]  # fmt: skip

"""Cleaning by expected Dice: what is removed, what it gains, and how sure that is."""

import numpy as np
import pytest
from scipy.special import expit

from cloudtf import csv_files
from cloudtf.data import rle
from cloudtf.errors import UsageError, UserError
from cloudtf.submission import expected_dice, predictions
from cloudtf.submission.postprocess import COLUMNS, PostprocessConfig, postprocess

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
RATES = (0.50, 0.43, 0.53, 0.68)


def drawn(random, images, scale, shift):
    """Pairs with masks of a mediocre segmentation, and scores that are off by scale and shift."""
    present = random.random((images, 4)) < RATES
    evidence = random.normal(np.where(present, 1.2, -1.2), 1.3)
    scores = expit(scale * evidence + shift)
    # A mask is drawn more often where the evidence is for the class, and is better there.
    mask = random.random((images, 4)) < np.where(present, 0.9, 0.6 * expit(0.6 * evidence))
    dice = random.beta(5, 4, (images, 4)) * expit(0.4 * evidence + 1.5)
    image, column = np.nonzero(mask)
    return expected_dice.Pairs(
        image, column, scores[image, column], present[image, column], dice[image, column]
    )


def realised(belief, pairs, num_pairs):
    removed = expected_dice.margins(belief, pairs.scores, pairs.classes) < 0
    expected = expected_dice.gain(belief, pairs.scores[removed], pairs.classes[removed], num_pairs)
    real = np.where(pairs.present[removed], -pairs.dice[removed], 1).sum() / num_pairs
    return real, expected


@pytest.mark.parametrize("draws", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_realised_gain_lies_in_its_interval_and_is_a_gain(draws):
    inside, gains = 0, []
    for seed in range(draws):
        random = np.random.default_rng((5, seed))
        wrong = random.uniform(0.5, 1.8), random.uniform(-0.8, 0.8)
        belief = expected_dice.estimated(drawn(random, 400, *wrong), 4)
        real, expected = realised(belief, drawn(random, 300, *wrong), 1200)
        inside += expected.low <= real <= expected.high
        gains.append(real)
    assert inside >= 0.9 * draws
    assert np.mean(gains) > 0.02 and min(gains) > 0


@pytest.mark.parametrize("draws", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_same_of_calibrated_probabilities_and_a_dice_that_is_given(draws):
    inside, gains = 0, []
    for seed in range(draws):
        random = np.random.default_rng((6, seed))
        scores = random.beta(0.8, 0.8, 700)
        present = random.random(700) < scores
        classes = random.integers(4, size=700)
        dice = random.beta(5.5, 4.5, 700)
        pairs = expected_dice.Pairs(np.arange(700), classes, scores, present, dice)
        belief = expected_dice.assumed(np.full(4, 0.55))
        real, expected = realised(belief, pairs, 1200)
        inside += expected.low <= real <= expected.high
        gains.append(real)
    assert inside >= 0.9 * draws
    assert min(gains) > 0


def test_a_mask_is_removed_where_the_class_is_less_likely_than_1_in_1_plus_d():
    belief = expected_dice.assumed(np.array([0.6, 0.25]))
    scores = np.array([0.62, 0.63, 0.79, 0.81])
    margins = expected_dice.margins(belief, scores, np.array([0, 0, 1, 1]))
    assert (margins < 0).tolist() == [True, False, True, False]


def test_few_pairs_of_a_class_are_taken_as_all_together_are():
    random = np.random.default_rng(0)
    pairs = drawn(random, 300, 1.0, 0.0)
    some = pairs.take(np.flatnonzero((pairs.classes != 2) | (pairs.images < 12)))
    belief = expected_dice.estimated(some, 4)
    assert belief.groups.tolist() == [0, 1, -1, 3]
    assert np.isfinite(belief.weights).all()
    # A higher score is never less likely.
    grid = np.linspace(0, 1, 101)
    for number in range(4):
        chance = belief.probabilities(grid, np.full(101, number))
        assert (np.diff(chance) >= 0).all()


@pytest.fixture
def files(tmp_path):
    """Three images: one with a likely mask, one with two unlikely ones, one without."""
    names = ["a.jpg", "b.jpg", "c.jpg"]
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.1]])
    predictions.write(str(tmp_path / "predictions.csv"), names, scores, CLASSES[:2])
    masks = {"a.jpg_Fish": "1 5", "b.jpg_Fish": "7 2", "b.jpg_Flower": "9 3"}
    rows = [
        (f"{name}_{kind}", masks.get(f"{name}_{kind}", ""))
        for name in names
        for kind in CLASSES[:2]
    ]
    csv_files.write(str(tmp_path / "submission.csv"), COLUMNS, rows)
    return tmp_path


def config(files, **options):
    return PostprocessConfig(
        submission=str(files / "submission.csv"),
        predictions=str(files / "predictions.csv"),
        output=str(files / "cleaned.csv"),
        objective="dice",
        **options,
    )


def test_it_removes_what_costs_more_than_it_brings_and_says_what_to_expect(files, capsys):
    result = postprocess(config(files, mask_dice=("Fish:0.5", "Flower:0.6")))
    assert result.removed == {"Fish": 1, "Flower": 1}
    # (1 - 0.2) - 0.2 * 0.5, and (1 - 0.3) - 0.3 * 0.6; of six pairs.
    assert result.gain.mean == pytest.approx((0.7 + 0.52) / 6)
    assert result.gain.low < result.gain.mean < result.gain.high
    said = " ".join(capsys.readouterr().out.split())
    assert "The probabilities are taken as they are" in said
    assert "To expect: +0.2033 of the mean score (95% interval" in said


def test_the_best_mask_of_an_image_may_be_kept(files):
    result = postprocess(config(files, mask_dice=("0.5",), keep_best=True))
    assert (result.removed, result.kept_best) == ({"Fish": 1, "Flower": 0}, 1)
    assert "b.jpg_Flower,9 3" in (files / "cleaned.csv").read_text()
    (files / "thresholds.json").write_text(
        '{"Fish": {"recall": {"target": 0.9, "threshold": 0.95, "precision": 1, "recall": 1},'
        '"precision": {"target": 0.9, "threshold": 0.5, "precision": 1, "recall": 1}},'
        '"Flower": {"recall": {"target": 0.9, "threshold": 0.95, "precision": 1, "recall": 1},'
        '"precision": {"target": 0.9, "threshold": 0.5, "precision": 1, "recall": 1}}}'
    )
    by_threshold = PostprocessConfig(
        submission=str(files / "submission.csv"),
        predictions=str(files / "predictions.csv"),
        thresholds=str(files / "thresholds.json"),
        output=str(files / "cleaned.csv"),
        keep_best=True,
    )
    result = postprocess(by_threshold)
    assert (result.removed, result.kept_best) == ({"Fish": 1, "Flower": 0}, 2)
    assert result.gain is None


def labelled(files, images=120):
    """Masks of labelled images at 20 x 30, true ones at 40 x 60: of Fish off by half its width."""
    random = np.random.default_rng(1)
    names, truth, guess, scores = [], [], [], []
    for number in range(images):
        name = f"t{number}.jpg"
        names.append(name)
        present = random.random(2) < 0.5
        scores.append(np.clip(expit(random.normal(3 * present - 1.5, 1)), 0, 1))
        for kind, there, shift in zip(CLASSES, present, (5, 0)):
            mask = np.zeros((20, 30), bool)
            mask[5:15, 10:20] = True
            true = np.roll(mask, shift, axis=1).repeat(2, 0).repeat(2, 1)
            truth.append((f"{name}_{kind}", rle.encode(true) if there else ""))
            guess.append((f"{name}_{kind}", rle.encode(mask)))
    truth.append(("unpredicted.jpg_Fish", "1 5"))
    predictions.write(str(files / "oof.csv"), names, np.array(scores), CLASSES[:2])
    csv_files.write(str(files / "truth.csv"), COLUMNS, truth)
    csv_files.write(str(files / "guess.csv"), COLUMNS, guess)
    return {
        "labelled_submission": str(files / "guess.csv"),
        "labelled_predictions": str(files / "oof.csv"),
        "labelled_truth": str(files / "truth.csv"),
        "mask_size": "20x30",
        "truth_size": "40x60",
    }


def test_dice_and_probabilities_are_estimated_on_labelled_images(files, capsys):
    result = postprocess(config(files, **labelled(files)))
    assert result.removed == {"Fish": 1, "Flower": 1}
    said = " ".join(capsys.readouterr().out.split())
    assert "On 240 masks of labelled images" in said
    assert "Dice of those: Fish 0.50, Flower 1.00" in said


def test_a_mask_of_another_size_is_named(files):
    with pytest.raises(UserError, match=r"Line . of .*guess.csv has a mask that is none of 10x10"):
        postprocess(config(files, **{**labelled(files), "mask_size": "10x10"}))


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "objective='dice' needs mask_dice, or labelled images"),
        ({"mask_dice": ("0.5",), "thresholds": "t.json"}, "objective='dice' takes no thresholds"),
        ({"labelled_truth": "t.csv"}, "Give all of labelled_submission, labelled_pred"),
        ({"mask_dice": ("0.5",), "mask_size": "350"}, "mask_size='350' is not as 350x525 is"),
        ({"mask_dice": ("0.5",), "objective": "threshold"}, "thresholds is required"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(files, options, message):
    given = {"submission": "s.csv", "predictions": "p.csv", "output": "o.csv", "objective": "dice"}
    with pytest.raises(UsageError, match=message):
        PostprocessConfig(**{**given, **options})


@pytest.mark.parametrize(
    "words, message",
    [(("Fish:0.5",), "Flower has none"), (("2",), "'Fish:2' is neither"), (("x:1",), "'x' is not")],
)
def test_a_dice_that_is_none_is_refused(files, words, message):
    with pytest.raises(UserError, match=message):
        postprocess(config(files, mask_dice=words))

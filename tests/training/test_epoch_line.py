"""The line about an epoch."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtf import text
from cloudtf.training.epoch_line import epoch_line

ROW = {"epoch": 3, "loss": 0.41234, "val_loss": 0.5, "val_pr_auc_mean": 0.81399}
WITH_TRAINING = {**ROW, "train_pr_auc_mean": 0.9}


@pytest.mark.parametrize(
    ("row", "total", "is_best", "left", "line"),
    [
        (ROW, 20, False, math.nan, "epoch 3 of 20  loss 0.412 val 0.500  val PR-AUC 0.814"),
        (ROW, 3, True, 0.0, "epoch 3 of 3  loss 0.412 val 0.500  val PR-AUC 0.814 best"),
        (
            WITH_TRAINING, 120, True, 6000.0,
            "epoch 3 of 120  loss 0.412 val 0.500  PR-AUC 0.900 val 0.814 best  1.7 h left",
        ),
        (
            {**WITH_TRAINING, "val_pr_auc_mean": math.nan, "loss": 123.456}, 20, False, 45.2,
            "epoch 3 of 20  loss 123 val 0.500  PR-AUC 0.900 val nan  45 s left",
        ),
    ],
)  # fmt: skip
def test_it_says_the_epoch_its_figures_and_the_time_left(row, total, is_best, left, line):
    assert epoch_line(row, total, is_best, left) == line


@given(
    st.integers(1, 999), st.floats(0, 99_999), st.floats(0, 99_999), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 5e6),
)  # fmt: skip
@example(100, 0.0, 0.0, 0.0, 0.0, 100.0)
def test_it_fits_80_columns(epoch, loss, val_loss, area, val_area, left):
    row = {"epoch": epoch, "loss": loss, "val_loss": val_loss, "train_pr_auc_mean": area}
    assert len(epoch_line({**row, "val_pr_auc_mean": val_area}, 999, True, left)) <= 80


@given(st.floats(0, 8_000_000), st.floats(0, 8_000_000))
def test_a_duration_is_right_to_a_twentieth_and_grows_with_time(one, other):
    units = {"s": 1, "min": 60, "h": 3600, "d": 86_400}

    def seconds(said):
        number, unit = said.split()
        return float(number) * units[unit]

    for value in (one, other):
        assert abs(seconds(text.duration(value)) - value) <= max(0.5, 0.05 * value)
        assert len(text.duration(value)) <= 7
    if one <= other:
        assert seconds(text.duration(one)) <= seconds(text.duration(other))

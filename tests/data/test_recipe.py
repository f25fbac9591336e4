"""One photograph to one record: which failures leave it out and which end the conversion."""

import errno
import os

import pytest

from cloudtf import files
from cloudtf.data.recipe import Recipe
from cloudtf.errors import UserError

NAME = "photo_05.jpg"


@pytest.fixture
def outcome_when(photographs_dir, monkeypatch):
    """Makes a record where opening the photograph ends in an error."""

    def result(error, skip=True):
        def spoilt(path, *arguments, **options):
            raise error

        monkeypatch.setattr(files, "open", spoilt, raising=False)
        return Recipe(f"{photographs_dir}/images", 32, 40, 95, skip).outcome(NAME, None)

    return result


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("skip", [True, False])
def test_a_failure_of_reading_that_may_pass_leaves_nothing_out(outcome_when, number, skip):
    with pytest.raises(UserError, match=f"{NAME} cannot be read: {os.strerror(number)}"):
        outcome_when(OSError(number, os.strerror(number)), skip)


def test_a_lack_of_memory_leaves_nothing_out(outcome_when):
    with pytest.raises(MemoryError):
        outcome_when(MemoryError())


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_a_photograph_that_went_or_may_not_be_read_may_be_left_out(outcome_when, number):
    error = OSError(number, os.strerror(number))
    outcome = outcome_when(error)
    assert outcome.record is None and outcome.reason.endswith(os.strerror(number))
    with pytest.raises(UserError, match="cannot be read"):
        outcome_when(error, skip=False)


def test_a_remote_photograph_that_is_not_there_may_be_left_out():
    outcome = Recipe("ram://recipe", 32, 40, 95, True).outcome(NAME, None)
    assert outcome.record is None and f"ram://recipe/{NAME} cannot be read" in outcome.reason
    with pytest.raises(UserError, match="nosuch://recipe/.* cannot be read"):
        Recipe("nosuch://recipe", 32, 40, 95, True).outcome(NAME, None)

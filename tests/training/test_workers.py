"""Real workers on this machine: two and three processes against one, stopped, killed, gone on.

Each session is a set of workers which make several runs one after the other, to save time.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UserError
from cloudtf.evaluation import history
from cloudtf.model import network, saving
from cloudtf.settings import to_flagfile
from cloudtf.training.config import TrainConfig
from cloudtf.training.stopping import Interrupted, StopRequests
from cloudtf.training.train import train
from cloudtf.training.workers import WorkerLost, Workers
from tests import programs

pytestmark = pytest.mark.timeout(900)

# 48 examples, 4 steps an epoch, 12 steps. No random layers, whose masks depend on the replica.
SETTINGS = {
    "model": "tiny",
    "weights": "none",
    "batch_size": 12,
    "head_epochs": 0,
    "epochs": 3,
    "learning_rate": 3e-3,
    "augmentations": ["horizontal_flip"],
    "augment_on": "host",
    "cache": "decoded",
    "train_metric_examples": 10,
    "checkpoint_every": "2",
    "tensorboard": False,
}
# Where bits are compared: the averages of plain batch norm are put together when a run is saved, so
# that a stop more changes their rounding.
EXACT = {"deterministic": True, "sync_batch_norm": True}
SAME_BATCHES = {"head_epochs": 1, "epochs": 2, "sync_batch_norm": True}
TOTAL = 12


def session(folder, plan, workers, restarts=0, grace_seconds=120):
    """Runs a plan on some workers; what they print. Results are for `result` and `variables`."""
    (folder / "tmp").mkdir(exist_ok=True)
    worker = programs.command("train_as_worker", json.dumps(plan), folder)
    done = programs.run(
        "launch_program", workers, restarts, grace_seconds, *worker,
        environment={**os.environ, "TMPDIR": str(folder / "tmp")}, timeout=840,
    )  # fmt: skip
    return done.stdout, done.stderr


def result(folder, name, worker=0):
    return json.loads((folder / f"{name}-{worker}.json").read_text())


def variables(folder, name, worker=0):
    """The model's and the optimizer's variables at the end of a run, as one worker has them."""
    with np.load(folder / f"{name}-{worker}.npz") as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def state(run_dir):
    (path,) = pathlib.Path(run_dir, "checkpoints").glob("*/state.json")
    return json.loads(path.read_text())


def losses(rows):
    return [row[key] for row in rows for key in ("loss", "val_loss")]


def without_speeds(rows):
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def assert_equal(some, others):
    assert len(some) == len(others) > 20
    for one, other in zip(some, others):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def settings(base, photographs_dir):
    """Settings of a run by its name, on records of one shard or of four."""
    for shards in (1, 4):
        convert(
            ConvertConfig(
                labels_csv=f"{photographs_dir}/labels.csv",
                images_dir=f"{photographs_dir}/images",
                output_dir=str(base / f"records{shards}"),
                image_height=32,
                image_width=32,
                num_shards=shards,
            )
        )

    def of(name, shards=4, **changes):
        folders = {"data_dir": str(base / f"records{shards}"), "run_dir": str(base / name)}
        return {**SETTINGS, **folders, **changes}

    return of


@pytest.fixture(scope="module")
def alone(settings):
    """Trains in this process."""

    def run(name, shards=4, **changes):
        given = settings(name, shards, **changes, strategy="cpu")
        given["augmentations"] = tuple(given["augmentations"])
        before, network.DROP_CONNECT_RATE = network.DROP_CONNECT_RATE, 0.0
        try:
            return train(TrainConfig(**given)).history
        finally:
            network.DROP_CONNECT_RATE = before

    return run


@pytest.fixture(scope="module")
def one(alone):
    """The history of one process."""
    return alone("one", shards=1, **SAME_BATCHES)


@pytest.fixture(scope="module")
def fitted(base):
    """Settings of a run that ends with the head fitted on the features of some body."""
    body = network.build_model("tiny", 4, (32, 32)).get_layer("body")
    body.save_weights(str(base / "body.weights.h5"))
    return {
        "weights": str(base / "body.weights.h5"), "head": "features", "head_epochs": None,
        "feature_views": 2, "epochs": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def two(base, settings, alone, fitted):
    """What two workers print. Their runs:

    two: the same batches as `one`; `halves`: stopped at its fifth step by a signal to the second
    worker, then gone on with; `whole`: the same never stopped; `from_one`: begun by one process;
    `few`: the PR-AUC of a single training example, of which one worker has none; `fitted`: the head
    on features.
    """
    with pytest.raises(Interrupted):
        alone("from_one", max_minutes=0.0)
    assert state(base / "from_one")["total_steps"] == 1
    elsewhere = {"run_dir_of_others": str(base / "nowhere" / "two")}
    stop = {"1": [5, signal.SIGTERM, str(base / "stopped")]}
    halves = settings("halves", **EXACT)
    return session(
        base,
        [
            ["two", {**settings("two", 1, **SAME_BATCHES), **elsewhere}, {}],
            ["first_half", dict(halves), stop],
            ["", {"copy": [halves["run_dir"], str(base / "to_one")]}, {}],
            ["", {"copy": [halves["run_dir"], str(base / "to_three")]}, {}],
            ["second_half", dict(halves), {}],
            ["whole", settings("whole", **EXACT), {}],
            ["from_one", settings("from_one"), {}],
            ["few", settings("few", epochs=1, train_metric_examples=1), {}],
            ["fitted", settings("fitted", **fitted), {}],
        ],
        workers=2,
    )


@pytest.fixture(scope="module")
def three(base, settings, two):
    """What three workers print, on the batches of `one` and going on with a run of two."""
    to_three = settings("to_three", **EXACT)
    plan = [["three", settings("three", 1, **SAME_BATCHES), {}], ["to_three", to_three, {}]]
    return session(base, plan, workers=3)


@pytest.mark.parametrize(("name", "workers"), [("two", 2), ("three", 3)])
def test_workers_train_as_one_on_the_same_batches(base, one, name, workers, request):
    request.getfixturevalue(name)
    found = result(base, name)
    assert found["status"] == 0 and found["steps"] == TOTAL
    assert abs(losses(one)[-2] - losses(one)[0]) > 0.01, "it learns something"
    np.testing.assert_allclose(losses(found["history"]), losses(one), rtol=1e-3)
    for mine, its in zip(found["history"], one):
        assert mine["learning_rate"] == its["learning_rate"]
    weights = network_weights(base / name), network_weights(base / "one")
    for its, mine in zip(*weights):
        np.testing.assert_allclose(its, mine, rtol=2e-2, atol=2e-3)


def test_workers_fit_the_head_on_the_features_of_all(base, two, alone, fitted):
    (mine,) = alone("fitted_alone", **fitted)
    for worker in (0, 1):
        (its,) = result(base, "fitted", worker)["history"]
        assert (its["stage"], its["loss"]) == ("features", pytest.approx(mine["loss"], rel=1e-4))
    for pair in zip(network_weights(base / "fitted"), network_weights(base / "fitted_alone")):
        np.testing.assert_allclose(*pair, rtol=1e-3, atol=1e-3)
    assert not (base / "fitted" / "checkpoints" / "features").exists()


def network_weights(run_dir):
    return saving.load_model(f"{run_dir}/best.keras").get_weights()


@pytest.mark.parametrize(
    ("name", "workers"),
    [("two", 2), ("first_half", 2), ("second_half", 2), ("from_one", 2), ("three", 3)],
)
def test_workers_end_with_the_same_bits(base, name, workers, request):
    request.getfixturevalue("three" if workers == 3 else "two")
    first = without_speeds(result(base, name).get("history", []))
    for worker in range(1, workers):
        assert_equal(variables(base, name), variables(base, name, worker))
        assert without_speeds(result(base, name, worker).get("history", [])) == first


def test_a_worker_without_examples_to_judge_takes_part(base, two):
    rows = [result(base, "few", worker)["history"] for worker in range(2)]
    assert [row["epoch"] for row in rows[0]] == [1]
    # One example shows a class or it does not.
    assert all(np.isnan(rows[0][0][f"train_pr_auc_{name}"]) for name in ("Fish", "mean"))
    assert losses(rows[0]) == losses(rows[1])


def test_workers_do_not_ask_one_another_for_a_batch_before_each_step(base, two):
    assert not result(base, "whole")["asks"]


def test_each_worker_says_what_it_reads(two, three):
    lines = two[0].splitlines()
    for worker in range(2):
        assert f"[{worker}] tiny on 2 x CPU (MultiWorkerMirroredStrategy), batch 12" in lines
        assert f"[{worker}] Worker {worker} of 2 reads its own 2 of the 4 shards" in lines
    sentence = "[2] Worker 2 of 3 takes its share of all records: one shard is too few to divide"
    assert sentence in three[0].splitlines()


def test_only_the_chief_writes(base, two, three):
    assert not (base / "nowhere").exists()
    assert list((base / "tmp").iterdir()) == []
    assert set(os.listdir(base / "two")) == {
        ".lock", "best.json", "best.keras", "checkpoints", "flags.txt", "history.csv",
        "pr_auc_history.png",
    }  # fmt: skip


def test_a_signal_to_one_worker_stops_all_at_the_same_step(base, two):
    for worker in range(2):
        found = result(base, "first_half", worker)
        assert (found["status"], found["steps"]) == (143, 5)
        assert "told to stop (SIGTERM); all is saved in" in found["message"]
    assert state(base / "to_one")["total_steps"] == 5


def test_workers_that_go_on_end_as_if_never_stopped(base, two):
    assert result(base, "second_half")["steps"] == TOTAL - 5
    histories = [result(base, name)["history"] for name in ("second_half", "whole")]
    assert without_speeds(histories[0]) == without_speeds(histories[1])
    assert_equal(variables(base, "second_half"), variables(base, "whole"))


def test_what_some_workers_began_others_end(base, settings, two, three):
    assert result(base, "from_one")["steps"] == TOTAL - 1
    assert result(base, "to_three")["steps"] == TOTAL - 5
    # In a process of its own, since determinism cannot be turned off again.
    given = settings("to_one", **EXACT)
    flags = to_flagfile(TrainConfig(**{**given, "augmentations": tuple(given["augmentations"])}))
    command = [sys.executable, "-m", "cloudtf", "train", *flags.split(), "--strategy=cpu"]
    subprocess.run(command, check=True, timeout=600)
    rows = history.read(f"{base}/to_one/history.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for name in ("from_one", "to_three", "to_one"):
        assert state(base / name)["finished"] and state(base / name)["total_steps"] == TOTAL


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_after_a_kill_all_workers_start_again_and_end_as_if_nothing_had_been(
    base, settings, two, killed
):
    name = f"killed{killed}"
    kill = {str(killed): [8, signal.SIGKILL, str(base / f"{name}.marker")]}
    plan = [[name, settings(name, **EXACT), kill]]
    # The chief's connections close at once; of another's silence the chief hears later only.
    grace_seconds = 5 if killed else 120
    out, err = session(base, plan, workers=2, restarts=1, grace_seconds=grace_seconds)
    assert f"cloudtf launch: worker {killed} was killed by signal 9; all start again" in err
    if killed == 0:
        assert "[1] cloudtf train: another worker has stopped or cannot be reached (" in err
    for worker in range(2):
        assert f"[{worker}] Going on after step 6 (1 epochs done)." in out
        assert_equal(variables(base, name, worker), variables(base, "whole"))
    histories = [result(base, run)["history"] for run in (name, "whole")]
    assert without_speeds(histories[0]) == without_speeds(histories[1])


@pytest.mark.slow
def test_a_worker_that_is_killed_while_a_checkpoint_is_written_is_called_lost(base, settings):
    """As `test_checkpoints.py` has it in one process; the chief hears of the silence later."""
    kill = {"1": [4, signal.SIGKILL, str(base / "saving.marker"), "saving"]}
    plan = [["saving", settings("saving"), kill]]
    _, err = session(base, plan, workers=2, restarts=1, grace_seconds=150)
    assert "cloudtf launch: worker 1 was killed by signal 9; all start again" in err
    assert "[0] cloudtf train: another worker has stopped or cannot be reached (" in err
    assert "make room" not in err
    assert state(base / "saving")["finished"]


# What they tell each other, without a second process.


class Told(Workers):
    """Two workers, of which the other says what it is made with."""

    def __init__(self, *other):
        super().__init__(tf.distribute.get_strategy())
        self.count, self.other = 2, other

    def tell(self, *values):
        return np.array([values, self.other[: len(values)]], np.float64)


def test_a_single_process_is_the_chief_and_talks_to_itself():
    workers = Workers(tf.distribute.get_strategy())
    assert (workers.count, workers.index, workers.is_chief) == (1, 0, True)
    assert workers.tell(3, 4.5).tolist() == [[3, 4.5]]
    workers.meet()
    workers.check_same(flags={"a": 1}, records=None)
    with pytest.raises(tf.errors.UnavailableError), workers.naming_losses():
        raise tf.errors.UnavailableError(None, None, "not about workers")


def test_what_a_worker_with_seven_replicas_says_is_heard_to_the_bit():
    mine, others = programs.answer("exchange_between_replicas")
    assert mine == [*range(400), 2**48 - 1, 0.1]
    assert set(others) == {0}


def test_workers_with_other_flags_records_or_checkpoints_are_refused():
    with pytest.raises(UserError, match="Worker 1 has other records than worker 0; start all"):
        mine = Told()
        own = []
        mine.tell = lambda *values: own.append(values) or np.array([values, values])
        mine.check_same(flags={"epochs": 3}, records="abc")
        Told(own[0][0], own[0][1] + 1).check_same(flags={"epochs": 3}, records="abc")


def test_what_one_worker_is_told_all_hear():
    assert not StopRequests(None, Told(0)).pending()
    quiet = StopRequests(None, Told(signal.SIGTERM))
    assert quiet.pending() and quiet.leaves_before_first_step()
    for told, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (1, 75)):
        with pytest.raises(Interrupted) as caught:
            StopRequests(None, Told(told)).check("run")
        assert caught.value.exit_status == status
    # A signal counts for more than the time limit.
    with pytest.raises(Interrupted) as caught:
        StopRequests(0.0, Told(signal.SIGINT)).check("run")
    assert caught.value.exit_status == 130


def test_a_lost_worker_is_one_sentence_with_a_status_of_its_own():
    message = (
        "Graph execution error:\n\nDetected at node x\n  File a.py\n\nCollective ops is aborted "
        "by: Connection reset by peer\nAdditional GRPC error information from remote target"
    )
    with pytest.raises(WorkerLost) as caught, Told().naming_losses():
        raise tf.errors.UnavailableError(None, None, message)
    assert caught.value.exit_status == 69
    assert str(caught.value) == (
        "another worker has stopped or cannot be reached (Connection reset by peer); see what it "
        "said, then start all of them again to go on from the last checkpoint."
    )

"""The data service with real processes: a dispatcher and workers on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import cloudtf
from cloudtf import network
from cloudtf.commands import app
from cloudtf.data import records
from cloudtf.errors import UsageError, UserError
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.order import ALONE, Share
from cloudtf.pipeline.service import batch_maker, server
from cloudtf.pipeline.service.batch_maker import BatchMaker
from cloudtf.pipeline.service.client import DataService, _Inbox

# Of `records_dir`.
N, BATCH = 48, 8


class Service:
    """Processes of `cloudtf data-worker`, gone when it is closed."""

    def __init__(self, *flags):
        self.processes = []
        for last_try in (False, False, True):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            self.address = f"grpc://127.0.0.1:{self.port}"
            # Between its being free here and its use there, another test may take the port.
            if self.start_dispatcher(*flags, must=last_try):
                break

    def start_dispatcher(self, *flags, must=True):
        """Starts, or starts anew, the dispatcher at `self.port`; False if it ended at once."""
        self.dispatcher = self._start("--dispatcher", f"--port={self.port}", *flags)
        started = self.dispatcher.stdout.readline().startswith(f"Dispatcher on port {self.port}")
        assert started or not must
        return started

    def add_workers(self, count):
        flag = f"--dispatcher_address={self.address}"
        workers = [self._start(flag) for _ in range(count)]
        for worker in workers:
            assert worker.stdout.readline().startswith("Worker at 127.0.0.1")
        return workers

    def _start(self, *flags):
        self.processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "cloudtf", "data-worker", *flags],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
        )
        return self.processes[-1]

    def close(self):
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def two_workers():
    with contextlib.closing(Service()) as running:
        running.add_workers(2)
        yield running


@pytest.fixture(scope="module")
def data(records_dir):
    return cloudtf.open_dataset(records_dir, "encoded")


def maker_of(data, start=0, share=ALONE, augment_on="host"):
    return data.batch_maker("train", BATCH, augment_on, Augmentations(), 3, start, share)


def local(data, count, **options):
    options = {"augment_on": "host", **options}
    batches = data.training_batches(
        "train", BATCH, augmentations=Augmentations(), seed=3, **options
    )
    return [tuple(map(np.asarray, batch)) for batch in itertools.islice(batches, count)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize("share", [ALONE, Share(1, 2), Share(2, 5, 2)])
@pytest.mark.parametrize("start", [0, 40, 1000])
def test_a_batch_made_from_its_index_is_the_one_of_a_split_in_memory(data, share, start):
    batches = maker_of(data, start, share)
    make, expected = batches.function(), local(data, 9, start=start, share=share)
    # In another order, as several machines would make them.
    for number in (8, 0, 3, 7, 1):
        assert same(make(number), expected[number])


def test_batches_made_one_after_the_other_are_that_of_a_split_in_memory(data):
    expected = local(data, 15, augment_on="device")
    found = itertools.islice(maker_of(data, augment_on="device").dataset(), 15)
    for number, (index, batch) in enumerate(found):
        assert index == number and same(batch, expected[number])


def test_batches_longer_than_an_epoch_keep_the_order(data):
    batches = data.training_batches("val", 30, "host", Augmentations(), 3)
    make = data.batch_maker("val", 30, "host", Augmentations(), 3).function()
    for number, batch in enumerate(itertools.islice(batches, 3)):
        assert same(make(number), batch)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda b: b[:-100], "is damaged .a record at byte .* does not end"),
        (lambda b: b + b[: 16 + int.from_bytes(b[:8], "little")], "holds 13 records .* says 12"),
    ],
)
def test_a_shard_that_is_not_what_the_manifest_says_is_named(
    records_dir, tmp_path, change, sentence
):
    shard = records.read_manifest(records_dir).splits["train"].shards[0]
    with open(f"{records_dir}/{shard.name}", "rb") as file:
        content = change(file.read())
    (tmp_path / shard.name).write_bytes(content)
    # As long as it says, so that only its records tell.
    shard = dataclasses.replace(shard, num_bytes=len(content))
    with pytest.raises(UserError, match=sentence):
        batch_maker.index_shard(str(tmp_path / shard.name), shard)


def test_each_example_comes_once_an_epoch_in_the_order_without_a_service(data, two_workers):
    client = DataService(two_workers.address, exact=True)
    count = 3 * N // BATCH
    found = list(itertools.islice(client.batches(maker_of(data)), count))
    for batch, expected in zip(found, local(data, count)):
        assert same(batch, expected)
    keys = np.concatenate([batch.keys for batch in found])
    for epoch in range(3):
        assert sorted(keys[keys[:, 0] == epoch, 1]) == list(range(N))


def test_it_goes_on_from_any_example(data, two_workers):
    client = DataService(two_workers.address, exact=True)
    found = itertools.islice(client.batches(maker_of(data, start=72)), 4)
    for batch, expected in zip(found, local(data, 4, start=72)):
        assert same(batch, expected)


def test_killed_workers_lose_no_batch_and_new_ones_join(data, capsys):
    with contextlib.closing(Service()) as running:
        first, second = running.add_workers(2)
        client = DataService(running.address, exact=True, patience=2)
        batches = iter(client.batches(maker_of(data)))
        expected = iter(local(data, 160))
        for number in range(40):
            assert same(next(batches), next(expected)), number
        first.kill()
        for number in range(40, 80):
            assert same(next(batches), next(expected)), number
        running.add_workers(1)
        second.kill()
        for number in range(80, 160):
            assert same(next(batches), next(expected)), number
        notes = capsys.readouterr().out
        assert client.made_here == 0 or "did not come from grpc://127.0.0.1" in notes


def test_a_dispatcher_with_a_work_dir_may_be_killed_and_started_again(data, tmp_path):
    flag = f"--work_dir={tmp_path}"
    with contextlib.closing(Service(flag)) as running:
        running.add_workers(1)
        client = DataService(running.address, exact=True, patience=2)
        batches = iter(client.batches(maker_of(data)))
        expected = enumerate(data.training_batches("train", BATCH, "host", Augmentations(), 3))
        for number, batch in itertools.islice(expected, 20):
            assert same(next(batches), batch), number
        running.dispatcher.kill()
        running.dispatcher.wait()
        running.start_dispatcher(flag)
        deadline, in_a_row = time.monotonic() + 120, 0
        while in_a_row < 20 and time.monotonic() < deadline:
            made_here, (number, batch) = client.made_here, next(expected)
            assert same(next(batches), batch), number
            in_a_row = in_a_row + 1 if client.made_here == made_here else 0
            time.sleep(0.05)
        assert in_a_row == 20, "nothing comes from the service any more"


def test_a_dispatcher_that_was_started_anew_ends_the_run_in_one_sentence(data):
    with contextlib.closing(Service()) as running:
        running.add_workers(1)
        client = DataService(running.address, exact=True, patience=2)
        batches = iter(client.batches(maker_of(data)))
        next(batches)
        running.dispatcher.kill()
        running.dispatcher.wait()
        running.start_dispatcher()
        deadline = time.monotonic() + 120
        sentence = r"^the data service at grpc://127\.0\.0\.1:\d+ failed \(.*run the same"
        with pytest.raises(UserError, match=sentence) as caught, client.naming_failures():
            while time.monotonic() < deadline:
                next(batches)
                time.sleep(0.05)
    assert "{{" not in str(caught.value) and "[Op" not in str(caught.value)


def test_without_workers_all_is_made_here_with_a_note(data, capsys):
    with contextlib.closing(Service()) as running:
        client = DataService(running.address, exact=True, patience=1)
        found = itertools.islice(client.batches(maker_of(data)), 12)
        for batch, expected in zip(found, local(data, 12)):
            assert same(batch, expected)
    assert client.made_here >= 12
    notes = capsys.readouterr().out.splitlines()
    assert len(notes) == 2
    assert notes[0] == (
        f"Note: batch 0 did not come from {running.address} and was made here (1 so far); see "
        "that its workers run."
    )


@pytest.mark.parametrize(
    ("change", "exact", "sentence"),
    [
        (
            {"order": lambda b: dataclasses.replace(b.order, seed=8)},
            False,
            "read other records than .* holds here; give all machines the same",
        ),
        (
            {"changes": lambda b: dataclasses.replace(b.changes, seed=9)},
            True,
            "deterministic=True: images made by .* differ from",
        ),
        (
            {"changes": lambda b: dataclasses.replace(b.changes, seed=9)},
            False,
            "differ from those made here by .* on average",
        ),
    ],
)
def test_workers_that_make_something_else_are_found_out(
    data, two_workers, monkeypatch, change, exact, sentence
):
    function = BatchMaker.function

    def other(batches):
        values = {name: value(batches) for name, value in change.items()}
        return function(dataclasses.replace(batches, **values))

    monkeypatch.setattr(BatchMaker, "function", other)
    client = DataService(two_workers.address, exact=exact, patience=60)
    with pytest.raises(UserError, match=sentence), client.naming_failures():
        next(iter(client.batches(maker_of(data))))


def test_records_that_a_worker_cannot_read_end_it_in_one_sentence(
    records_dir, tmp_path, two_workers
):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    data = cloudtf.open_dataset(str(folder), "encoded")
    client = DataService(two_workers.address, exact=True, patience=60)
    index, known = batch_maker.index_shard, {}

    def remembered(path, shard):
        if path not in known:
            known[path] = index(path, shard)
        return known[path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_maker, "index_shard", remembered)
        batches = client.batches(maker_of(data))
        # The index is made; what it points to is gone.
        for path in folder.glob("train*"):
            path.unlink()
        sentence = r"the data service at .* failed \(.*run the same"
        with pytest.raises(UserError, match=sentence), client.naming_failures():
            next(iter(batches))


def test_records_that_only_this_process_has_are_refused(data):
    for change in ({"data_dir": "ram://records"}, {}):
        batches = dataclasses.replace(maker_of(data), **change)
        if not change:
            shards = batches.order.part.shards
            copy = dataclasses.replace(shards.shards[0], name="/tmp/x/train-0.tfrecord")
            shards = dataclasses.replace(shards, shards=(copy, *shards.shards[1:]))
            part = dataclasses.replace(batches.order.part, shards=shards)
            order = dataclasses.replace(batches.order, part=part)
            batches = dataclasses.replace(batches, order=order)
        with pytest.raises(UserError, match="^data_service: "):
            batches.check_shared()


@pytest.fixture
def free_address():
    """An address of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"grpc://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_a_service_with_status_0(number):
    with contextlib.closing(Service()) as running:
        (worker,) = running.add_workers(1)
        # The dispatcher first: its worker is not to wait for it.
        for process in (running.dispatcher, worker):
            if network.is_reachable():
                assert "open without a password" in process.stdout.readline()
            process.send_signal(number)
            out, _ = process.communicate(timeout=120)
            assert (out, process.returncode) == ("Stopped.\n", 0)


def test_a_worker_that_waits_for_its_dispatcher_stops_at_once_when_told(free_address):
    command = [
        sys.executable,
        "-m",
        "cloudtf",
        "data-worker",
        f"--dispatcher_address={free_address}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout.readline().startswith("Waiting for")
        began = time.monotonic()
        process.terminate()
        assert process.communicate(timeout=60)[0] == "Stopped.\n"
        assert process.returncode == 0 and time.monotonic() - began < 30


@pytest.mark.parametrize("host", ["a..b", "." + "host", "x" * 64 + ".org"])
def test_an_address_that_can_be_none_is_one_sentence(host, records_dir, tmp_path, capsys):
    flags = [f"--data_dir={records_dir}", f"--run_dir={tmp_path}", f"--data_service={host}:5050"]
    assert app.main(["train", *flags]) == 2
    err = capsys.readouterr().err
    assert f"--data_service={host}:5050 must be an address such as grpc://host:5050." in err


def test_a_taken_port_is_one_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["data-worker", "--dispatcher", f"--port={port}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"cloudtf data-worker: --port={port} cannot be listened on (")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["train", "data-worker"])
def test_where_nobody_listens_is_one_sentence_within_seconds(
    command, free_address, records_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(server, "WORKER_CONNECT_SECONDS", 1.0)
    address = free_address
    flags = {
        "train": [
            f"--data_dir={records_dir}",
            f"--run_dir={tmp_path}",
            f"--data_service={address}",
        ],
        "data-worker": [f"--dispatcher_address={address}"],
    }
    began = time.monotonic()
    assert app.main([command, *flags[command]]) == 1
    assert time.monotonic() - began < 60
    err = capsys.readouterr().err
    assert f"={address}: nobody answers there (Connection refused); start `cloudtf data" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", "host:0", "host:70000", "http://host:1", "grpc://a:1/b", "a b:1"],
)
def test_what_is_no_address_is_refused_before_anything_starts(address):
    with pytest.raises(UsageError, match="^data_service=.* must be an address such as"):
        cloudtf.TrainConfig(data_dir="a", run_dir="b", data_service=address)


def test_addresses_may_leave_the_protocol_out_and_be_ipv6():
    assert server.parse_address("x", "host:5050") == ("host", 5050)
    assert server.parse_address("x", "grpc://[::1]:5050") == ("[::1]", 5050)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "give either --dispatcher, or"),
        (["--dispatcher", "--dispatcher_address=a:1"], "give either --dispatcher, or"),
        (["--dispatcher_address=a"], "--dispatcher_address=a must be an address"),
        (["--dispatcher_address=a:1", "--work_dir=x"], "--work_dir is for the dispatcher"),
        (["--dispatcher", "--host=a"], "--host=a must be the name or address of a worker"),
    ],
)
def test_wrong_usage_starts_nothing(flags, sentence, capsys):
    assert app.main(["data-worker", *flags]) == 2
    err = capsys.readouterr().err
    assert sentence in err and len(err.splitlines()) == 1


def batch_of(number):
    return (np.array([number]),)


def test_what_comes_is_put_in_order_and_what_comes_too_late_is_dropped():
    inbox = _Inbox(most=10)
    for number in (2, 0, 1):
        assert inbox.put(number, batch_of(number))
    assert [inbox.take(number, 5)[0][0] for number in range(3)] == [0, 1, 2]
    assert inbox.take(3, patience=0.05) is None
    assert inbox.put(3, batch_of(3)) and inbox.put(4, batch_of(4))
    assert inbox.take(4, 5)[0][0] == 4
    assert not inbox._waiting


def test_who_waits_for_one_batch_holds_only_so_many_others():
    inbox = _Inbox(most=2)
    inbox.put(1, batch_of(1))
    inbox.put(2, batch_of(2))
    began = time.monotonic()
    assert inbox.take(0, patience=60) is None
    assert time.monotonic() - began < 30


def test_a_silent_service_is_waited_for_only_once():
    inbox = _Inbox(most=2)
    began = time.monotonic()
    assert [inbox.take(number, patience=0.5) for number in range(20)] == [None] * 20
    assert 0.5 <= time.monotonic() - began < 5


def test_a_run_with_a_service_is_the_run_without(records_dir, tmp_path, two_workers):
    flags = (
        f"--data_dir={records_dir}", "--model=tiny", "--weights=none", "--head_epochs=1",
        "--epochs=1", "--batch_size=8", "--learning_rate=0.02", "--deterministic",
        "--notensorboard",
    )  # fmt: skip
    histories = []
    for name, more in (("with", [f"--data_service={two_workers.address}"]), ("without", [])):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "cloudtf",
                "train",
                *flags,
                f"--run_dir={tmp_path / name}",
                *more,
            ],
            capture_output=True,
            encoding="utf-8",
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        said = f"Batches for training come from the data service at {two_workers.address}"
        assert (said in done.stdout) == bool(more)
        with open(tmp_path / name / "history.csv", encoding="utf-8") as file:
            rows = [line.split(",") for line in file.read().splitlines()]
        speed = [rows[0].index(column) for column in rows[0] if "second" in column]
        histories.append([[v for i, v in enumerate(row) if i not in speed] for row in rows])
    assert histories[0] == histories[1]
    assert os.path.exists(tmp_path / "with" / "best.keras")

"""The arithmetic of docs/SCALING.md, by cases computed by hand."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from cloudtf.diagnosis import scaling
from cloudtf.diagnosis.scaling import Measured, ScalingConfig
from cloudtf.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
COSTS = Measured(
    read_ms=0.05, decode_ms=0.25, augment_ms=0.2, record_bytes=25_000, image_bytes=150_000
)


def config(**changes):
    return ScalingConfig(**{"bench": "x.json", "images_per_second": 1000.0, **changes})


def need(name, accelerators, **changes):
    found = scaling.needs(config(**changes), COSTS, accelerators)
    (one,) = [n for n in found if n.name == name]
    return one


def test_an_accelerators_speed_is_peak_times_share_over_operations():
    # 100e12 x 0.2 / 4e9 = 5000.
    told = config(images_per_second=None, peak_tflops=100, utilisation=0.2, gflops_an_image=4)
    assert scaling.accelerator_speed(told) == pytest.approx(5000)
    assert scaling.accelerator_speed(config(images_per_second=777)) == 777


def test_cores_are_images_a_second_times_the_cost_of_one():
    # 64 x 1000 images/s x 0.3 ms = 19.2 cores, of 8 hosts x 100 cores x 3/4.
    found = need("cores", 64, cores_a_host=100, core_share=0.75)
    assert found.needed == pytest.approx(19.2)
    assert found.available == pytest.approx(600)
    assert found.load == pytest.approx(0.032)


def test_the_host_pays_for_augmentation_only_where_it_augments():
    assert need("cores", 1, augment_on="device").needed == pytest.approx(0.3)
    assert need("cores", 1, augment_on="host").needed == pytest.approx(0.5)


def test_network_and_storage_carry_records_and_the_link_carries_pixels():
    # 8 x 1000 x 25,000 bytes x 8 bits = 1.6 Gbit/s; pixels six times that.
    network = need("hosts' network", 8)
    assert (network.needed, network.available) == (pytest.approx(1.6), 200)
    storage = need("storage", 8, storage_gbits=50)
    assert (storage.needed, storage.available) == (pytest.approx(1.6), 50)
    link = need("link to devices", 8, link_gbits=10)
    assert (link.needed, link.available) == (pytest.approx(9.6), 80)


def test_the_storage_does_not_grow_with_the_hosts_and_all_else_does():
    for name in ("cores", "hosts' network", "link to devices"):
        assert need(name, 256).available == pytest.approx(32 * need(name, 8).available)
    assert need("storage", 256).available == need("storage", 8).available


def test_the_interconnect_carries_what_a_ring_of_gradients_sends():
    # 1000 / 100 = 10 steps/s, each 2 x 3/4 x 4 bytes x 1e6 = 6 MB: 60 MB/s = 0.48 Gbit/s.
    found = need("interconnect, each", 4, parameters=1_000_000, batch_an_accelerator=100)
    assert found.needed == pytest.approx(0.48)
    assert need("interconnect, each", 1).needed == 0


def test_what_binds_is_the_highest_load():
    few_cores = scaling.needs(config(cores_a_host=4, core_share=0.5), COSTS, 8)
    # 8 x 1000 x 0.3 ms = 2.4 of 2 cores.
    assert scaling.binding(few_cores).name == "cores"
    assert scaling.binding(few_cores).load == pytest.approx(1.2)
    # 256 x 1000 x 25 KB = 51.2 Gbit/s of 40.
    slow_storage = scaling.needs(config(storage_gbits=40), COSTS, 256)
    assert scaling.binding(slow_storage).name == "storage"
    assert scaling.binding(slow_storage).load == pytest.approx(1.28)


@pytest.mark.parametrize(
    ("images", "accelerators", "count"),
    [
        (40, 1, 5),  # At least 8 examples a shard.
        (10_000, 1, 8),  # 250 MB: three of 100 MB would do, 8 are read at once.
        (10_000, 16, 32),  # Two hosts, 16 readers each.
        (1_000_000, 8, 250),  # 25 GB by 100 MB.
        (1_000_000, 24, 252),  # The same number on each of three hosts.
        (1_000_000, 256, 512),  # 32 hosts, 16 readers each.
        (10**9, 8, 25_000),  # 25 TB by 1 GB.
        (10**8, 8, 10_000),  # 2.5 TB by 250 MB: ten thousand.
    ],
)
def test_shards(images, accelerators, count):
    advice = scaling.shard_advice(config(), COSTS, images, accelerators)
    assert advice.count == count
    assert advice.bytes_each == pytest.approx(images * 25_000 / count)


def test_opening_a_remote_set_asks_about_32_shards_at_once():
    advice = scaling.shard_advice(config(stat_ms=100), COSTS, 1_000_000, 8)
    assert advice.open_seconds == pytest.approx(2.4)  # 250 / 32, rounded up, x 3 x 0.1 s.


def test_the_cache_that_fits_into_a_hosts_memory():
    # 0.4 x 100 GB: 266,666 images decoded, 1.6 million encoded.
    fits = [
        scaling.cache_fits(config(memory_gb_a_host=100), COSTS, n)
        for n in (266_000, 267_000, 1_600_000, 1_600_001)
    ]
    assert fits == ["decoded", "encoded", "encoded", "none"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"data": {}, "costs_ms": 3, "conversion": null}'])
def test_another_json_is_refused(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UserError, match="other.json is not what `cloudtf bench --json` writes"):
        scaling.measured(str(path))


def test_the_document_holds_what_the_script_computes_from_the_measurement_beside_it():
    text = (ROOT / "docs" / "SCALING.md").read_text(encoding="utf-8")
    bench = ROOT / "docs" / "scaling_bench.json"
    for changes in ({}, {"augment_on": "host"}):
        lines = list(scaling.report(ScalingConfig(bench=str(bench), **changes)))
        tables = [line for line in lines if line.startswith("|")]
        # The document shows all tables with the defaults, the first one with host augmentation.
        for shown in tables if not changes else tables[:1]:
            assert shown in text


def test_the_script_prints_the_plan_and_refuses_in_a_sentence(tmp_path):
    def call(*flags):
        return subprocess.run(
            [sys.executable, str(ROOT / "tools" / "scaling.py"), *flags],
            capture_output=True,
            encoding="utf-8",
            timeout=180,
        )

    path = tmp_path / "bench.json"
    path.write_text(
        json.dumps(
            {
                "data": {"record_bytes": 25_000, "image_height": 200, "image_width": 250},
                "costs_ms": {"read": 0.05, "decode": 0.25, "augment": 0.2},
                "conversion": {"cpu_ms": 3.6, "photograph_bytes": 500_000},
                "step": None,
            }
        )
    )
    done = call(f"--bench={path}", "--images_per_second=1000")
    assert done.returncode == 0, done.stderr
    assert "An accelerator trains 1,000 images/s" in done.stdout
    # 19.2 cores at 64; a thousand images a microsecond... 3.6 ms a photograph: 1 h a million.
    assert "19.2 of 1,344" in done.stdout
    assert "| 1,000,000     |          1 |               500 |" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) < 200
    wrong = call(f"--bench={tmp_path}/none.json")
    assert wrong.returncode == 1 and len(wrong.stderr.splitlines()) == 1

"""benchmarks/recipes.py, the ablation, and its sets (benchmarks/real_sets.py); fetches nothing."""

import collections
import csv
import json
import pathlib
import sys
import types

import numpy as np
import pytest

import cloudtf

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    """`real_sets` and `recipes`, imported as their commands import one another."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("harness", "real_sets", "recipes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import real_sets
    import recipes

    monkeypatch.setattr(real_sets, "NUM_IMAGES", 90)
    yield real_sets, recipes
    for name in ("harness", "real_sets", "recipes"):
        sys.modules.pop(name, None)


@pytest.fixture
def recipes(modules, monkeypatch, tmp_path):
    recipes = modules[1]
    given = {"results": str(tmp_path / "runs.jsonl"), "until": None, "only": [], "write": None}
    given.update(sets=["earth", "emoji"], seeds=["0", "1"], work_dir=str(tmp_path))
    monkeypatch.setattr(recipes, "FLAGS", types.SimpleNamespace(**given))
    study = recipes.Study("Two", 64, "--epochs=1", {"mixed": "--mixup=0.2", "large": "size=96"})
    monkeypatch.setattr(recipes, "STUDIES", {"two": study})
    return recipes


def lines(recipes):
    return [
        json.loads(line)
        for line in pathlib.Path(recipes.FLAGS.results).read_text().split("\n")[:-1]
    ]


def test_what_is_measured_is_not_run_again_and_other_flags_are(recipes, monkeypatch):
    ran, most = [], [5]

    def measure(run):
        if len(ran) == most[0]:
            raise KeyboardInterrupt
        ran.append(run)
        return {**run._asdict(), "test": 0.5, "cpu_seconds": 1.0}

    monkeypatch.setattr(recipes, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        recipes.measure_all()
    first, ran[:], most[0] = list(ran), [], 99
    recipes.measure_all()
    assert len(first) == 5 and len(ran) == 7 and not {*first} & {*ran}
    assert len(lines(recipes)) == 12
    # All rows come with the first seed before any with the second.
    assert [run.seed for run in first + ran] == [0] * 6 + [1] * 6
    assert {run.size for run in ran if run.row == "large"} == {96}
    recipes.STUDIES["two"].rows["mixed"] = "--mixup=0.4"
    ran.clear()
    recipes.measure_all()
    assert [run.flags[-1] for run in ran] == ["--mixup=0.4"] * 4


def test_a_row_that_fails_is_named_and_the_others_go_on(recipes, monkeypatch, capsys):
    def measure(run):
        if run.row == "mixed":
            raise RuntimeError("mixup=0.2 is not a flag.")
        return {**run._asdict(), "test": 0.5, "cpu_seconds": 1.0}

    monkeypatch.setattr(recipes, "measure", measure)
    recipes.measure_all()
    assert {line["row"] for line in lines(recipes)} == {"", "large"}
    assert capsys.readouterr().err.count("two/mixed, earth, seed 0: mixup=0.2 is not a flag.") == 1


def test_tables_compare_pairs_and_take_their_place_in_a_document(recipes, tmp_path):
    scores = {
        "": (0.70, 0.72, 0.50, 0.54),
        "mixed": (0.71, 0.73, 0.51, 0.55),
        "large": (0.8, 0.7, 0.6, 0.4),
    }
    places = [("earth", 0), ("earth", 1), ("emoji", 0), ("emoji", 1)]
    with open(recipes.FLAGS.results, "w") as file:
        for row, values in scores.items():
            for (name, seed), value in zip(places, values):
                line = {"study": "two", "row": row, "set": name, "seed": seed, "test": value}
                file.write(json.dumps({**line, "cpu_seconds": 10 + seed}) + "\n")
    document = tmp_path / "RECIPE.md"
    document.write_text(f"Before\n{recipes._BEGIN}\nold{recipes._END}\nAfter\n")
    recipes.FLAGS.write = str(document)
    recipes.main()
    text = document.read_text()
    assert text.startswith("Before\n") and text.endswith(f"{recipes._END}\nAfter\n")
    assert "old" not in text
    mixed, large = (
        next(r for r in text.splitlines() if f"| {n}:" in r) for n in ("mixed", "large")
    )
    assert "0.7200 ± 0.0141" in mixed and "+0.0100 ± 0.0000, better" in mixed
    # Half the interval is 3.182 (t, 3 degrees of freedom) times the standard error of the mean.
    differences = np.array([0.1, -0.02, 0.1, -0.14])
    half = 3.182 * differences.std(ddof=1) / 2
    assert f"{differences.mean():+.4f} ± {half:.3f}"[:13] in large
    assert "no difference shown" in large


def test_groups_stay_whole_in_splits_and_folds(modules, monkeypatch, tmp_path):
    real_sets, _ = modules

    def pictures(_):
        random = np.random.default_rng(0)
        for index in range(100):
            pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
            yield real_sets.Picture(
                f"{index}.png", f"g{index // 3}", {"a", "b"} - {"ab"[index % 2]}, pixels
            )

    monkeypatch.setitem(real_sets.SETS, "made", (pictures, ("a", "b")))
    folder = real_sets.prepared("made", str(tmp_path))
    with open(f"{folder}/labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 90 and all(row["a"] != row["b"] for row in rows)
    for column in ("split", "fold"):
        parts = collections.defaultdict(set)
        for row in rows:
            parts[row["group"]].add(row[column])
        assert all(len(found) == 1 for found in parts.values())
    assert all((row["fold"] == "test") == (row["split"] == "test") for row in rows)
    sizes = collections.Counter(row["split"] for row in rows)
    assert abs(sizes["train"] - 60) <= 3 and abs(sizes["val"] - 15) <= 3
    data = cloudtf.open_dataset(real_sets.converted("made", str(tmp_path), 48, folds=True))
    assert sorted(data.splits) == [*(f"fold{k}" for k in range(5)), "test"]
    assert data.classes == ("a", "b") and data.image_shape == (48, 48)


def test_what_is_transparent_becomes_white(modules):
    image = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    expected = [[[30, 20, 10], [255, 255, 255], [204, 204, 204]]]
    np.testing.assert_array_equal(modules[0].on_white(image), expected)


def test_another_file_than_the_package_s_is_refused(modules, tmp_path):
    package = modules[0].Package("emoji", "1.0", "0" * 64)
    (tmp_path / "emoji-1.0.tgz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="emoji-1.0.tgz has SHA-256 .*, not 000"):
        modules[0].fetch_npm(package, str(tmp_path))

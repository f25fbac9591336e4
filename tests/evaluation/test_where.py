"""The sheet of where a model looks."""

import cv2
import pytest
from matplotlib.figure import Figure

from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation.preview import PreviewConfig, preview
from cloudtf.pipeline.dataset import open_dataset


def config_of(records_dir, trained_run, output, **changes):
    return PreviewConfig(
        data_dir=records_dir, output=str(output), split="val", model=trained_run, **changes
    )


def test_it_shows_the_images_that_were_asked_for_and_their_most_probable_classes(
    records_dir, trained_run, tmp_path, monkeypatch
):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1]
    )
    names = open_dataset(records_dir).names("val")
    chosen = (names[7], names[2])
    output = tmp_path / "where.png"
    preview(config_of(records_dir, trained_run, output, images=chosen, versions=2))
    assert cv2.imread(str(output)) is not None
    (figure,) = figures
    texts = [text.get_text() for text in figure.texts]
    assert [text for text in texts if text in names] == list(chosen)
    assert len(figure.axes) == 2 * 3
    first_words = [text.split(" ")[0] for text in texts]
    scores = [
        float(text.split(" ")[1])
        for text, word in zip(texts, first_words)
        if word in ("Fish", "Flower", "Gravel", "Sugar")
    ]
    assert len(scores) == 4 and scores[0] >= scores[1] and scores[2] >= scores[3]


def test_an_image_that_is_not_there_and_images_without_a_model_are_refused(
    records_dir, trained_run, tmp_path
):
    with pytest.raises(UserError, match="There is no image 'x.jpg' in the split val of "):
        preview(config_of(records_dir, trained_run, tmp_path / "w.png", images=("x.jpg",)))
    with pytest.raises(UsageError, match="images needs model"):
        PreviewConfig(data_dir="records", output="w.png", images=("x.jpg",))

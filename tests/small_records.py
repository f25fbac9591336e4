"""Records of the tests' photographs."""

from cloudtf.data.convert import ConvertConfig, convert


def records_of(photographs_dir, folder, side, **changes):
    """Makes records of side x side pixels in a folder, and gives its name.

    `photographs_dir` has `images` and `labels.csv`; `changes` are settings of the converter.
    """
    convert(
        ConvertConfig(
            labels_csv=f"{photographs_dir}/labels.csv",
            images_dir=f"{photographs_dir}/images",
            output_dir=str(folder),
            image_height=side,
            image_width=side,
            **changes,
        )
    )
    return str(folder)

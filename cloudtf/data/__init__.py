"""From photographs and a label CSV to TFRecords: labels, splits, conversion, synthetic sets."""

"""From TFRecords to batches: the tf.data input pipeline and the augmentation."""

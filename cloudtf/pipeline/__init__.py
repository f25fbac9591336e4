"""From TFRecords to batches: the tf.data input pipeline and the augmentation.

What users open, and the way of a batch:
  dataset         a folder of records, whose batches can be had
  order           which example comes when
  cache           what is kept in memory, and how much fits
  tables          examples in memory
  reading         examples from a disk
  batching        from an order and examples to batches
  damage          names the shard or record that is damaged

Augmentation:
  augmentations   which, and how strong
  randomness      random numbers of an example
  distortion      where each pixel of an augmented image comes from
  augment         a batch resampled along that

Batches made on other machines:
  service         the trainer's side, the servers, and making any batch from its index
"""

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
  draws           which augmentations an example gets, and how much of each
  affine          the linear part of where a pixel comes from
  distortion      where each pixel of an augmented image comes from
  maps            the same for a batch, with what becomes of its colours
  colour          what becomes of pixels in their places
  resampling      the stages in which pixels are resampled along maps
  augment         a batch resampled along its maps
  mixing          pairs of images mixed: mixup and cutmix
  areas           how much of what is labelled is still in the picture
  changes         all of that, for images and labels

Batches made on other machines:
  service         the trainer's side, the servers, and making any batch from its index
"""

"""From photographs and a label CSV to TFRecord shards, in three groups of modules.

Labels and splits: which image has which classes, and goes to which split.
  csv_rows        the rows of a CSV, whatever its delimiter and encoding
  tables          a header and rows of text, out of a CSV, of JSON, or out of memory
  json_rows       JSON as such a table: a row an object
  words           what single words mean: names of columns, blanks, yes and no
  layouts/        decides how a label table is to be read, or refuses it
  label_frame     labels in a pandas DataFrame as a table
  imagefolder     the label table that lies among the photographs
  label_csv       reads a label table: the table, its layout, its labels
  label_rows      the rows of each kind of table
  label_builder   collects the images, classes and problems of the rows
  labels          the table of images and labels; which names and classes are allowed
  rle             Kaggle's run-length encoding of masks
  masks           what of a mask a record keeps: 28 x 28 bits a class
  folders         classes by folders
  image_names     which file a name in a table means; where a name ends and a class begins
  sources         pairs the names in a table with the image files of a folder
  passed_over     what of a folder is no photograph, or is not looked into
  splits          train and val, folds, groups: stratified on the label combination
  selection       the images that a conversion takes, and the split of each

Conversion: images to shards, on one machine or many, continued after a kill.
  convert_config  the settings
  convert         the converter itself
  first_look      what will happen to the photographs, in sentences
  images          reads one image file, turns it upright, resizes and encodes it
  jpeg            JPEG files to pixels
  jpeg_picture    what of a JPEG makes its picture, without what is odd beside it
  jpeg_codes      whether a JPEG's image data are all there, to the bit
  png             PNG files to pixels
  tiff            TIFF files to pixels
  other_kinds     files that Pillow reads to pixels
  kinds           what a file is, by its first bytes
  orientation     which way up a photograph is stored
  pixels          limits of size, 16-bit values to 8 bits, memory used again
  aspect          how a photograph gets the ratio of sides of the records
  recipe          one image file to one record
  likeness        whether one photograph is a copy of another, turned, flipped or cropped
  near_duplicates finds the copies among many photographs
  copies          keeps copies in one split
  photograph_table what is known of photographs beside their labels: groups, kept columns
  summary         what is said in the end
  progress        what of a conversion is in place, and whether another may go on from it
  relabel         records that are there, with labels by a model
  tasks           shards as tasks that other machines carry out
  beam            the same by an Apache Beam job

Records: what is stored, and whether it is sound.
  records         the features of a record; `dataset.json`, the manifest
  tfrecord        records and their frames as bytes
  shards          plans and writes shards
  stored          reads images back, some of many
  verify          compares a set with its manifest
  salvage         a set without its damaged records (`on_bad_record="skip"`)
"""

"""How a label table is to be read: told by its header and all of its cells, or refused.

What is told, from what, and how it is said:
  survey            what the cells of each column are like
  image_column      which column names the images
  masks             run-length encoded masks
  yes_and_no        a column a class; a row an image and class
  names_of_classes  lists of classes; a row a class
  separators        what stands between the classes in a cell
  facts             what these are told, and what they answer
  recognise         the best of their answers
  account           how a table was read, in words
"""

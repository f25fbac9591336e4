"""How a label table is to be read, recognised from its header and all of its cells.

From the cells to the layout:
  survey            what the cells of each column are like
  image_column      which column names the images
  masks             run-length encoded masks
  yes_and_no        a column a class; a row an image and class
  names_of_classes  lists of classes; a row a class
  beside            columns beside them that may change what rows say
  separators        what stands between the classes in a cell
  printed_lists     lists as Python, NumPy and JSON print them
  qualifiers        what stands beside their names: yes and no, numbers, doubts
  facts             what is known of a table, and the layouts it may have
  recognise         chooses the layout, or refuses the table
  account           how a table was read, in words
"""

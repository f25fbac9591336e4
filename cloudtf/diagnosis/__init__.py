"""What is wrong with a set-up or a data set, and how fast each part is: `doctor` and `bench`."""

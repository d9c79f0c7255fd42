"""Text files as tables: their encodings, delimiters, cells of labels, and columns of labels as targets."""

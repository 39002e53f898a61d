"""Reads anybody's tables: files of events above all, and of items and users, in whatever form they come.

source   bytes of a file to lines of text: compression, encoding, and what is no table at all
dialect  lines to a guess of how they are written: separator, header, quotes
table    files to batches of columns: separated text, lines of "user item item …", JSON lines, Parquet
columns  which column is the user, the item, the time, the rating
checks   complaints that name the file and the line; ids and numbers
times    dates and times in their common spellings to unix seconds
events   all of this for a file of events

Training reads with it and the gateway imports with it, so what trains can be served. It imports nothing else of this
repository.
"""

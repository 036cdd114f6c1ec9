"""Controlled comparisons: one factor changes, everything else is the same, several times over.

plan.py    what is compared: a file or a command line, read and checked      factors.py  keys by short names, values by name
run.py     every arm of every repeat, made or taken over from an earlier run   training.py one arm's training, from weights shared by all
scores.py  what is scored, by name                                             summary.py  values, intervals, paired differences
table.py   the result as Markdown                                              page.py     the result as a web page with sheets
"""

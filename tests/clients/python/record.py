"""A record as the matrix compares it."""

from collections import namedtuple

Record = namedtuple("Record", "key value headers timestamp")

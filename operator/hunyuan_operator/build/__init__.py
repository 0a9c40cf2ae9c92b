"""One builder for each kind of object, returning the whole object. Pure: no I/O, no clock, no randomness."""

"""The world as named, frozen records, read from the API's own JSON. Pure: no I/O, no clock."""

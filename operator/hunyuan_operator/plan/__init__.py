"""What to do next, decided from spec, observation, memory and time. Pure: no I/O, no clock."""

"""Checkpoints as people have them: files, names and tensors, for the engine's checks and for quantisation."""

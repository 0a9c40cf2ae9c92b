"""The command ``hunyuan``."""

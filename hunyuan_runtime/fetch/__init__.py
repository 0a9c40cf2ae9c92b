"""``python -m hunyuan_runtime.fetch``: a model from a Hugging Face hub into a volume, once, before the engine starts.

Why not huggingface_hub: it gives up after five tries, throws away what it has of a file when a process ends, compares
no digest, and knows nothing of several nodes that share a volume. What it would spare is three requests.
"""

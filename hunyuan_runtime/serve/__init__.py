"""What serves a model inside the pods of a group: its ranks' entry points, and what vLLM must know of Hunyuan-Large."""

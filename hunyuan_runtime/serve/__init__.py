"""What serves a model inside a group's pods: the entry points of its ranks, and what vLLM needs to know Hunyuan-Large."""

"""What runs inside the pods: model, vLLM plugin, Ray Serve application, tokenizer. Knows nothing of Kubernetes."""

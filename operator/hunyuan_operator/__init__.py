"""Kubernetes operator for Hunyuan-Large: HunyuanDeployment and, later, HunyuanFineTune."""

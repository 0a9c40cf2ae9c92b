"""Fine-tuning: each stage of :class:`hunyuan_runtime.train_config.Stage` is the work of a Job of its own."""

"""Training: the only place that knows Horovod."""

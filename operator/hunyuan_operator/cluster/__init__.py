"""The cluster: a port that the reconcile core is written against, and its edge to a real API server."""

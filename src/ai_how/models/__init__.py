"""The registry: check a checkpoint, upload it to the object store, register it in MLflow, fetch it again."""

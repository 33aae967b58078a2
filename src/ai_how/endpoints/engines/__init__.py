"""One module an inference engine, all of the shape of ``base.Engine``."""

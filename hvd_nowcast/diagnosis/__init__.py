"""What is wrong with the environment of a job: ``hvd-nowcast info --check``."""

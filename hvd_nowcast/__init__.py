"""Train, verify and run deep-learning models of radar nowcasting with Horovod over MPI."""

__version__ = "0.1.0"

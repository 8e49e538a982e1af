"""Apache Spark: inference cut into pieces of work, and training by Horovod inside Spark tasks.

The driver plans which result files there are and which of them are missing; each task makes one of
them with the same code as ``forecast``; the driver joins them. What a killed executor or a stopped
job has finished stays on disk, and a second call makes the rest.
"""

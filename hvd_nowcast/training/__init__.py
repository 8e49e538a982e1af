"""The run: schedule, step, checkpoints, interrupts and the loop that joins them."""

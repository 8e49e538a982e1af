"""What each rank sees: which samples, in which scaling, as batches of arrays."""

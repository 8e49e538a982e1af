"""What is learnt: Keras networks built from their configuration section."""

"""What methods are made of: losses, memory bank, momentum, decoder, teachers."""

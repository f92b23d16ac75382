"""A few labels: how they are read, and what they change in an encoder's last layer."""

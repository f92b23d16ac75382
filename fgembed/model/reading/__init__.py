"""What an encoder reads beside the last map, and the closed-form fit of its last layer to a set."""

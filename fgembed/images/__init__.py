"""Images: find, decode and preprocess them; read them in batches, from folders or archives."""

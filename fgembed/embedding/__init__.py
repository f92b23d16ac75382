"""Embedding with ONNX Runtime, without torch: one image, many, or resumable on disk."""

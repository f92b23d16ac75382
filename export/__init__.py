"""From a run to a bundle: the ONNX graph, the proof that it equals torch, the model card."""

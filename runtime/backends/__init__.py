"""Who computes a graph: ONNX Runtime or engines, behind one protocol."""

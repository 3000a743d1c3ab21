"""Backends compute graphs: ONNX Runtime or engines, behind one protocol."""

"""Tracing: a torch module becomes a canonical ONNX graph without weights."""

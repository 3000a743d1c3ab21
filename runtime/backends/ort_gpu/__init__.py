"""ONNX Runtime on a GPU: buffers on the device, and only what was asked for is moved."""

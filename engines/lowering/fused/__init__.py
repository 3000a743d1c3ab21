"""Forms of fused operators for ONNX Runtime, on the CPU and with CUDA."""

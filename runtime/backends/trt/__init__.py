"""TensorRT and TensorRT-RTX engines behind the backend protocol."""

"""What quantization did to a bundle."""

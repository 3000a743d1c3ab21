"""Makes the built-in calibration set for published checkpoints: texts, sounds, pictures, clips."""

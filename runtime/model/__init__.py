"""The encoders, Thinker and Talker: graphs with their host arithmetic."""

"""One model and the people who talk to it: sessions, fair turns, records."""

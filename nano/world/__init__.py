"""The world of Omnijet-nano: its words, speech, sounds, pictures, clips and skills."""

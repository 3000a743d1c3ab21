"""`omnijet chat`: a conversation in the terminal, with a bundle here or a server elsewhere."""

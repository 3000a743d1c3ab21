"""`omnijet serve`: HTTP, WebSocket and a page."""

"""Tries a server: many clients, clients that leave, clients that lie, and kill -9."""

"""What a bundle's graphs computed where they were made, and whether engines compute it here."""

"""What the kit costs, and how near it comes, beside its peers."""

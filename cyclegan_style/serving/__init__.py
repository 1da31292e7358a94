"""Models for others: the service and the page."""

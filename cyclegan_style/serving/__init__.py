"""A model for others: the service and the page."""

"""A trained generator applied to pictures, folders and videos."""

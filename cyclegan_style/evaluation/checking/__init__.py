"""What is wrong with the pictures of two domains before anything is trained on them."""

"""Pictures, their files, the two domains and the samples drawn from them."""

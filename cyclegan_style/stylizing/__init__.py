"""Neural style transfer: one picture painted in the style of another, without training."""

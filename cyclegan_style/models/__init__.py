"""What holds a trained model: folders, files of the reference, graphs, the Hub."""

"""Methods that turn the answers of a crowd into class probabilities: what a user names."""

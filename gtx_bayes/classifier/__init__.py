"""From what a crowd said of images to a classifier of them, its page, and what it disputes."""

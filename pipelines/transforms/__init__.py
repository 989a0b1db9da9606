"""What is done to frames on their way: a region of them, parts followed through them, results drawn onto them."""

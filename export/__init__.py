"""The training side: data, training, and export with proof. May import torch; nothing that runs on the line imports it."""

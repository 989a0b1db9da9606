"""Whether a bundle does on this device what it did where it was made: one report of everything that can be checked."""

"""The requests of a log run through the live decisions in virtual time, with servers as they might be."""

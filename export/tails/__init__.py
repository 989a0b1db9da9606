"""Finds the decode tail of a foreign graph, proves what it computes, and cuts it off.

A tail is followed by what its operators do to every single element, never by names: each element of a tensor is a sum of
known numbers times atoms, where an atom is an element of a head tensor, its sigmoid, or the mean of a box distribution.
What arrives at the output is compared, exactly, with the formula of head contract ``levels``. So every order of
operators is read that comes to the same formula, and none that does not.
"""

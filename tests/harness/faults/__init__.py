"""Starts of every kind, and other things happening at their system calls.

tests/test_faults.py tries a sample in seconds, proof/test_faults.py every error of every call.
"""

"""Generators of synthetic data with a known truth. Import the module you need."""

"""Tests of whether self-explanations are faithful, one file a test."""

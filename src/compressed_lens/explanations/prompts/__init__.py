"""The shipped prompt templates, one text file each; see `compressed_lens.templates`."""

from compressed_lens.templates import fill, template

__all__ = ["fill", "template"]

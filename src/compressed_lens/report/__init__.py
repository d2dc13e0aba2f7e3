"""Reports from a run's database: HTML, Markdown, CSV, LaTeX and Polars. No torch."""

from compressed_lens.comparison.frames import metrics_table
from compressed_lens.report.build import write_report
from compressed_lens.report.tex import latex

__all__ = ["latex", "metrics_table", "write_report"]

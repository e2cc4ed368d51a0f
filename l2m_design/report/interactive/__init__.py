"""The page's interactive figures: traces and layouts for plotly as plain values, without any library."""

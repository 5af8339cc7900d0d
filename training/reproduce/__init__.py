"""The published experiments: experiments.py declares them, published.py has their figures, comparison.py and
gaps.py make the tables and plots of `smoothcert reproduce`."""

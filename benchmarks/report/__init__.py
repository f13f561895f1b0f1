"""What studies are shown as: tables in the terminal, plots, and a page that holds all of it.

``figures`` boils the samples of a cell down, ``matrix`` sets the cells of one load against each
other and ``compare`` those of two studies; ``columns`` says what a table of details has.  They are
plain functions.  ``tables`` (rich), ``plots`` (matplotlib) and ``html`` (Jinja) only draw.
"""

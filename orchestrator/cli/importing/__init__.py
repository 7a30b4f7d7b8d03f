"""Moving over: workflows of other engines, as jobs files.

A workflow file is read, translated step by step into jobs and printed as TOML, with a note at each place that means something
else here or that a person must decide. Nothing is run, and nothing in the translated file is trusted.
"""

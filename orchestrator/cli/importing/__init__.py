"""Moving over: workflows of other engines, as jobs files."""

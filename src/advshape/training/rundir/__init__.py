"""The run directory: written as the run goes, cut back and gone on with on resume."""

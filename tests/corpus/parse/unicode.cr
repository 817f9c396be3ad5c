let σ : R^n  # greek
	derive σ·σ wrt σ
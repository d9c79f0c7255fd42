"""The parts of `benchmarks.real_pictures`: its settings, its data, its trainings and its page."""

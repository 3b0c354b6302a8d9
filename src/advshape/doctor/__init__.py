"""Is everything in place? What is installed, whether trainers know us, what a configuration does to the objective."""

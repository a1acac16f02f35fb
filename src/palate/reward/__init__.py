"""Located methods: a persona is a vector in a learned space, read by a reward head."""

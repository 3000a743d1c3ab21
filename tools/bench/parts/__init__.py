"""The parts of the benchmark: each measures one kind of work, in a process of its own."""

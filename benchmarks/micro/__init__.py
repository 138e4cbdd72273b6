"""Parts of the gateway by themselves, under pytest-benchmark: `make bench-micro`."""

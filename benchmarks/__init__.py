"""What answers cost: the gateway beside a plain gateway and a hand-written join, on one machine and in one run."""

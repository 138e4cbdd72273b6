"""The gateway's command line as a process that writes how many asyncio tasks it has into a file, at each SIGUSR1.

python -m benchmarks.counted FILE serve --port 0
"""

import asyncio
import signal
import sys
from pathlib import Path

from gateway.cli import main

if __name__ == "__main__":
    told, *arguments = sys.argv[1:]
    signal.signal(signal.SIGUSR1, lambda *_: Path(told).write_text(str(len(asyncio.all_tasks())), encoding="ascii"))
    sys.exit(main(arguments))

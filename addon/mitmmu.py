"""The file for `mitmdump -s addon/mitmmu.py`. It only finds the project and hands over."""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from addon.hooks import Mitmmu

addons = [Mitmmu()]

# What was imported stays. Going through it again in every full collection would stop all streams for 50 to 100 ms.
gc.freeze()

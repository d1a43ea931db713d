"""Make a folder for models/rewards of a CLIP in open_clip's format, such as HPS v2 (docs/real-models.md).

python run.py bench hps_folder HPS_v2.1_compressed.pt --like models/rewards/PickScore_v1 --folder models/rewards/HPS_v2.1
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sgool.benchmarks.real.open_clip import make_folder
from sgool.harness.problems import exit_with


def main(arguments: list[str]) -> int:
    """Make the folder and name it."""
    parser = argparse.ArgumentParser(prog="run.py bench hps_folder", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="the .pt file")
    parser.add_argument("--like", type=Path, required=True, help="folder of a CLIP of the same shape, for tokenizer and preprocessing")
    parser.add_argument("--folder", type=Path, required=True, help="to be made")
    options = parser.parse_args(arguments)
    here = Path(os.environ.get("SGOOL_CALLED_FROM", ".")).absolute()  # run.py goes to its own folder
    make_folder(here / options.checkpoint, here / options.like, here / options.folder)
    print(here / options.folder)
    return 0


if __name__ == "__main__":
    exit_with(main)

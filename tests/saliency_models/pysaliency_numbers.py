"""pysaliency's numbers for maps and fixations made by formula, the same everywhere.

Run as a script with pysaliency installed (0.2.22 was; it wants numpy < 2.4), it prints the recorded file anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

OFFSET = 1e-3  # added to densities for the information gain: pysaliency takes the logarithm of zeros
RECORDED = Path(__file__).with_name("pysaliency_numbers.json")


def cases() -> dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return name -> (map (H, W), other map (H, W), fixations (N, 2), fixations of other images (M, 2)); places are (row, column)."""
    found = {}
    for name, (height, width, count) in {"landscape": (48, 64, 40), "portrait": (70, 30, 25), "tiny": (5, 4, 6)}.items():
        rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
        blob = torch.exp(-((rows / height - 0.4) ** 2 + (columns / width - 0.6) ** 2) / 0.05)
        waves = (torch.sin(0.7 * rows + 0.3 * columns) + torch.cos(0.9 * columns)) ** 2
        steps = torch.arange(count).double()
        places = torch.stack([(steps * 0.618034 * height) % height, (steps * 0.754878 * width) % width], 1).floor().long()
        others = torch.stack([(steps * 0.569840 * height + 3) % height, (steps * 0.324718 * width + 5) % width], 1).floor().long()
        looked = blob + 0.05 * waves + 0.01
        found[name] = (looked, blob + 0.2 * torch.cos(0.2 * rows) ** 2, places, others)
        found[name + ", 8 gray levels"] = ((looked * 7).round(), (waves * 3).round(), places, others)
    return found


def numbers(saliency: Tensor, truth: Tensor, places: Tensor, others: Tensor) -> dict[str, float]:
    """Return pysaliency's value for each metric that it defines as we do."""
    from pysaliency.metrics import CC, NSS, SIM, MIT_KLDiv, convert_saliency_map_to_density
    from pysaliency.roc import general_roc

    first, second = saliency.numpy(), truth.numpy()
    rows, columns = places.numpy().T
    positives, shuffled = first[rows, columns], first[tuple(others.numpy().T)]
    looked = np.zeros(first.shape, bool)
    looked[rows, columns] = True
    log_density = np.log(convert_saliency_map_to_density(first + OFFSET))
    reference = np.log(convert_saliency_map_to_density(second + OFFSET))
    unit = [(one - one.min()) / (one.max() - one.min()) for one in (first, second)]
    return {
        "AUC-Judd": float(general_roc(positives, first[~looked], judd=1)[0]),
        "AUC uniform": float(general_roc(positives, first.flatten(), judd=0)[0]),
        "sAUC": float(general_roc(positives, shuffled, judd=0)[0]),
        "NSS": float(NSS(first, columns, rows).mean()),
        "CC": float(CC(first, second)),
        "SIM": float(SIM(first, second)),
        "SIM unit range": float(SIM(unit[0], unit[1])),
        "KLD": float(MIT_KLDiv(first, second)),
        "IG": float((log_density[rows, columns] + np.log(first.size)).mean() / np.log(2)),
        "IG over map": float((log_density - reference)[rows, columns].mean() / np.log(2)),
    }


if __name__ == "__main__":
    json.dump({name: numbers(*case) for name, case in cases().items()}, sys.stdout, indent=1)
    print()

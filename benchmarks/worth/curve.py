"""From one pool of noises for each prompt: what the best of any number of them is worth, the same with halving, and the ceiling.

What is derived is an expectation over the subsets of the pool, so that a curve does not jump by what one search happened to draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from sgool.latent_optimization.candidates import halving_plan, steps_of

SUBSETS = 200  # that halving, which has no formula, is averaged over


@dataclass(frozen=True)
class Pool:
    """What is known of the noises of one prompt, ``(n,)`` each.

    Attributes:
        right: the judge's word on the finished image.
        final: the reward's score of it.
        early: steps made -> the scores of what the model then takes for the image, of the first noises.
    """

    right: NDArray[np.bool_]
    final: NDArray[np.float64]
    early: dict[int, NDArray[np.float64]]


def best_of(pool: Pool, count: int) -> float:
    """The chance that the best by the reward of ``count`` noises is right, over all subsets of the pool without replacement."""
    return _of_the_best(pool.right, pool, count)


def score_of_best(pool: Pool, count: int) -> float:
    """The highest score of ``count`` noises that is to be expected, over the same subsets."""
    return _of_the_best(pool.final, pool, count)


def _of_the_best(values: NDArray[Any], pool: Pool, count: int) -> float:
    n = len(pool.final)
    ranks = np.arange(n - count + 1)  # the best of a subset has at least count - 1 behind it
    chance = np.exp(_ways(n - 1 - ranks, count - 1) - _ways(n, count))
    order = np.argsort(-pool.final, kind="stable")[: len(ranks)]
    return float((chance * values[order]).sum())


def any_of(pool: Pool, count: int) -> float:
    """The chance that at least one of ``count`` is right: what a perfect scorer would reach."""
    n, wrong = len(pool.right), int((~pool.right).sum())
    return 1.0 - float(np.exp(_ways(wrong, count) - _ways(n, count))) if wrong >= count else 1.0


def looks(steps: int) -> list[int]:
    """After how many steps successive halving looks at runs of ``steps``."""
    return [after for after, _ in halving_plan(2**20, steps, 1)]


def halved(pool: Pool, count: int, steps: int, seed: int = 0) -> tuple[float, int]:
    """The same as ``best_of`` with successive halving as SGOOL Best of N does it on runs of ``steps``, and the steps that it makes."""
    plan, rng = halving_plan(count, steps, 1), np.random.default_rng(seed)
    known = min(len(scores) for scores in pool.early.values())
    hits = 0
    for _ in range(SUBSETS):
        left = rng.choice(known, count, replace=False)
        for after, kept in plan:
            left = left[np.argsort(-pool.early[after][left], kind="stable")[:kept]]
        hits += bool(pool.right[left[np.argmax(pool.final[left])]])
    return hits / SUBSETS, steps_of(count, steps, plan)


def _ways(n: NDArray[np.int_] | int, k: int) -> NDArray[np.float64]:
    """The logarithm of how many ways there are to choose ``k`` of ``n``."""
    found: NDArray[np.float64] = gammaln(np.asarray(n) + 1.0) - gammaln(k + 1.0) - gammaln(np.asarray(n) - k + 1.0)
    return found

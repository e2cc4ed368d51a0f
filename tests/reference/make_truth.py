"""Write truth.json: exact answers that the tests compare with. Run: python make_truth.py"""

import json
from pathlib import Path

import numpy as np
from scipy.special import gamma, zeta

KEYS = 10_000_000
LENGTHS = [2**j for j in range(0, 17)]


def santa_fe(beta):
    """Block MI and expected distinct keys, in nats and facts, for n = 1..65536 pairs."""
    k = np.arange(1, KEYS + 1, dtype=float)
    p = k ** (-1 / beta) / zeta(1 / beta)
    tail = zeta(1 / beta, KEYS + 1) / zeta(1 / beta)
    seen = [-np.expm1(n * np.log1p(-p)) for n in LENGTHS]
    return {
        "beta": beta,
        "pairs": LENGTHS,
        "mi_nats": [float((s**2).sum() * np.log(2)) for s in seen],
        "distinct_keys": [float(s.sum() + n * tail) for s, n in zip(seen, LENGTHS)],
        "asymptotic_prefactor_nats": float((2 - 2**beta) * gamma(1 - beta) / zeta(1 / beta) ** beta * np.log(2)),
    }


def santa_fe_truncated(beta, keys):
    p = np.arange(1, keys + 1, dtype=float) ** (-1 / beta)
    p /= p.sum()
    seen = [-np.expm1(n * np.log1p(-p)) for n in LENGTHS]
    return {
        "beta": beta,
        "keys": keys,
        "pairs": LENGTHS,
        "mi_nats": [float((s**2).sum() * np.log(2)) for s in seen],
        "distinct_keys": [float(s.sum()) for s in seen],
    }


def tree_gaussian(levels=8):
    return {
        "branching": 4,
        "copies": 3,
        "beta": float(np.log(3) / np.log(4)),
        "length": [4**level for level in range(1, levels + 1)],
        "mi_nats": [float(3 ** (level - 1) * 0.5 * np.log(9 / 5)) for level in range(1, levels + 1)],
        "vclub_over_mi_with_exact_density": float((4 / 9) / (1 - 4 / 9) / (0.5 * np.log(9 / 5))),
    }


def arfima(d, lengths=(2, 4, 8, 16, 32, 64, 128, 256, 512)):
    """Past-future MI of n and n samples of ARFIMA(0,d,0), from its autocovariance."""
    top = 2 * max(lengths)
    cov = np.empty(top)
    cov[0] = gamma(1 - 2 * d) / gamma(1 - d) ** 2
    for lag in range(1, top):
        cov[lag] = cov[lag - 1] * (lag - 1 + d) / (lag - d)

    def logdet(n):
        index = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        return np.linalg.slogdet(cov[index])[1]

    return {
        "d": d,
        "n": list(lengths),
        "mi_nats": [float(logdet(n) - 0.5 * logdet(2 * n)) for n in lengths],
        "log_slope": d * d / 2,
    }


def markov(stay):
    """Symmetric two-state chain: block MI is I(X_n; X_{n+1}) for every n >= 1."""
    h = -(stay * np.log(stay) + (1 - stay) * np.log(1 - stay))
    return {"states": 2, "stay": stay, "mi_nats_any_length": float(np.log(2) - h)}


if __name__ == "__main__":
    truth = {
        "santa_fe": [santa_fe(b) for b in (0.3, 0.5, 0.7, 0.8)],
        "santa_fe_truncated": [santa_fe_truncated(0.5, 256), santa_fe_truncated(0.7, 1024)],
        "tree_gaussian": tree_gaussian(),
        "arfima": [arfima(0.2), arfima(0.4)],
        "markov": [markov(0.9), markov(0.75)],
    }
    Path(__file__).with_name("truth.json").write_text(json.dumps(truth, indent=1))

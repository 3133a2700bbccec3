"""Says what fine-tuning was good for, and fails where it was good for nothing or the ways to run it disagree.

python compare.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    folder = Path(sys.argv[1])
    results = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in ("before", "merged", "quantised", "apart")
    }
    print(f"{'':<10} {'loss':>8} {'exact match':>12}")
    for name, result in results.items():
        print(f"{name:<10} {result['loss']:>8.3f} {result['exact_match']:>12.2f}")
    before, merged, quantised, apart = results.values()
    assert merged["loss"] < before["loss"] / 2, "fine-tuning has not helped"
    assert merged["exact_match"] > before["exact_match"], "no line has become right"
    assert abs(merged["loss"] - apart["loss"]) < 1e-3, "merged and apart are not the same model"
    assert abs(merged["loss"] - quantised["loss"]) < 0.1, "quantising has cost too much"


if __name__ == "__main__":
    main()

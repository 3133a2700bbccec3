"""Write golden.json: what generate() of Hugging Face answers on the toy model. Needs python and tests on PYTHONPATH."""

import json
from pathlib import Path

import transformers
from support import toy_hf
from support.toy_cases import draw_case


def main() -> None:
    rows = []
    for seed in range(500, 620):
        case = draw_case(seed, beams=seed % 4 != 0)
        sequences, _ = toy_hf.generate(case)
        model = {name: getattr(case.model, name) for name in ("seed", "vocab_size", "scale", "context", "eos_bonus")}
        rows.append(
            {
                "model": model, "prompt": case.prompt, "eos": case.eos, "suppress": case.suppress,
                "options": case.options, "sequences": sequences,
            }
        )  # fmt: skip
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = f'{{"transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}\n'
    Path(__file__).with_name("golden.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

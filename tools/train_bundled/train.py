"""Train the bundled model: stage after stage of a preset, resumable, with a loss curve.

    python train.py DATA_FOLDER OUT_FOLDER --preset cpu
    torchrun --nproc-per-node 2 train.py ...       data parallel: on a CPU, one process per core with one thread each

OUT_FOLDER gets tokenizer/, checkpoint.pt, log.jsonl, loss.png and, after each stage, a folder in Hugging Face's format
named after the stage; the last one is the model. The same command goes on where an interrupted run stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from evaluate import generate, repair_scores, rouge
from model import make_model, save_text_only, use_fast_norm
from muon import Muon
from plot import plot_losses
from tasks import Batch, Corpus, collate, damage
from tokenizer import train_tokenizer

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
LOG_EVERY, SAVE_EVERY_S = 20, 240


def learning_rate(stage: dict[str, Any], step: int) -> float:
    """Warm up, hold, then fall linearly to a twentieth over the last ``decay`` share of the stage."""
    decay_steps = stage["decay"] * stage["steps"]
    left = (stage["steps"] - step) / decay_steps if decay_steps else 1.0
    return stage["learning_rate"] * min(1.0, (step + 1) / stage["warmup"], max(0.05, left))


def make_optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the vectors."""
    parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in parameters if p.ndim == 2 and "layers" in n]
    rest = [p for n, p in parameters if p.ndim != 2 or "layers" not in n]
    return [Muon(matrices), torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]


def average_gradients(model: torch.nn.Module) -> None:
    """Average over the processes, all tensors in one message."""
    if WORLD == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients]) / WORLD
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def loss_of(model: Any, batch: Batch, device: torch.device) -> torch.Tensor:
    """Return the mean cross-entropy of the batch's target tokens, computed with bfloat16 matrix products."""
    source, source_mask, target, labels = (t.to(device) for t in batch)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        logits = model(input_ids=source, attention_mask=source_mask, decoder_input_ids=target, use_cache=False).logits
    keep = labels != -100
    return torch.nn.functional.cross_entropy(logits[keep].float(), labels[keep])


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Drop this share of attention weights and of what is added to the residual stream, while training."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif hasattr(module, "attention_dropout"):
            module.attention_dropout = share


def valid_loss(model: Any, corpus: Corpus, valid: list[dict[str, str]]) -> float:
    """Mean cross-entropy of the validation targets: rises when the training pairs are being learned by heart."""
    pairs = [
        (corpus.sp.encode(p["source"])[: corpus.preset["max_source"]], corpus.sp.encode(p["target"])) for p in valid
    ]
    with torch.no_grad():
        losses = [loss_of(model, collate(pairs[i : i + 50]), model.device).item() for i in range(0, len(pairs), 50)]
    return sum(losses) / len(losses)


def score(model: Any, corpus: Corpus, valid: list[dict[str, str]], stage: str) -> dict[str, float]:
    """Measure greedy outputs on the validation split: repairs in the repair stage, synopses afterwards."""
    model.eval()
    targets = [p["target"] for p in valid]
    if stage == "repair":
        rng = random.Random(0)
        sources = [damage(t, rng) for t in targets]
        result = repair_scores(sources, generate(model, corpus.sp, sources), targets)
    else:
        outputs = generate(model, corpus.sp, [p["source"] for p in valid], corpus.preset["max_source"])
        result = rouge(outputs, targets) | {"valid_loss": valid_loss(model, corpus, valid)}
    model.train()
    return {k: round(v, 2) for k, v in result.items()}


class Run:
    """A training run: everything that a checkpoint holds, and the files it writes."""

    def __init__(self, args: argparse.Namespace, preset: dict[str, Any]) -> None:
        self.args, self.preset = args, preset
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.corpus = Corpus(args.data, args.out / "tokenizer", preset)
        with (args.data / "valid.jsonl").open(encoding="utf-8") as lines:
            self.valid = [json.loads(line) for line in lines][: args.eval_items]
        torch.manual_seed(args.seed)
        self.model: Any = make_model(preset["model"], preset["pieces"]).to(self.device)
        self.optimizers = make_optimizers(self.model)
        self.stage = self.step = 0
        if (args.out / "checkpoint.pt").exists():
            state = torch.load(args.out / "checkpoint.pt", map_location=self.device)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.stage, self.step = state["stage"], state["step"]

    def log(self, **row: Any) -> None:
        """Append to log.jsonl and print."""
        if RANK == 0:
            row = {"time": time.strftime("%H:%M:%S"), "stage": self.preset["stages"][self.stage]["name"]} | row
            with (self.args.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(*(f"{k}={v}" for k, v in row.items()), flush=True)

    def save(self) -> None:
        """Write the checkpoint so that an interruption leaves the old one or the new one, never half of one."""
        if RANK == 0:
            state = {
                "model": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "stage": self.stage,
                "step": self.step,
            }
            temporary = self.args.out / "checkpoint.tmp"
            torch.save(state, temporary)
            temporary.replace(self.args.out / "checkpoint.pt")

    def publish(self, name: str) -> None:
        """Write the model and its tokenizer as a folder that transformers and t5g-convert read."""
        if RANK == 0:
            save_text_only(self.model, self.args.out / name)
            shutil.copytree(self.args.out / "tokenizer", self.args.out / name, dirs_exist_ok=True)
            plot_losses(self.args.out / "log.jsonl", self.args.out / "loss.png")

    def read_own_synopses(self, n: int) -> list[dict[str, str]]:
        """Let the model write synopses of ``n`` training sources with beam search, once a stage."""
        path = self.args.out / f"own-{self.stage}.jsonl"
        if not path.exists():
            self.model.eval()
            sources = [row["source"] for row in self.corpus.rows[:n]]
            outputs = generate(self.model, self.corpus.sp, sources, self.preset["max_source"], num_beams=4)
            self.model.train()
            lines = [json.dumps({"source": s, "target": t}) for s, t in zip(sources, outputs, strict=True)]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with path.open(encoding="utf-8") as own:
            return [json.loads(line) for line in own]

    def train_stage(self) -> None:
        """Train from the current step to the end of the current stage."""
        stage = self.preset["stages"][self.stage]
        if "own" in stage["mix"]:
            self.corpus.set_own(self.read_own_synopses(stage["own_synopses"]))
        set_dropout(self.model, stage.get("dropout", 0.0))
        stream = self.corpus.batches(stage, f"{self.args.seed} {self.stage}", self.step, RANK, WORLD)
        losses: list[float] = []
        started = saved = time.monotonic()
        while self.step < stage["steps"]:
            rate = learning_rate(stage, self.step)
            for optimizer in self.optimizers:
                optimizer.param_groups[0]["lr"] = rate
            loss = loss_of(self.model, next(stream), self.device)
            loss.backward()
            average_gradients(self.model)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            self.step += 1
            if self.step % LOG_EVERY == 0:
                seconds = (time.monotonic() - started) / len(losses)
                self.log(
                    step=self.step, loss=round(sum(losses) / len(losses), 4), lr=rate, s_per_step=round(seconds, 3)
                )
                losses, started = [], time.monotonic()
            if RANK == 0 and time.monotonic() - saved > SAVE_EVERY_S:
                self.save()
                saved = time.monotonic()
            if RANK == 0 and self.step % self.args.eval_every == 0:
                self.log(step=self.step, **score(self.model, self.corpus, self.valid, stage["name"]))

    def train(self) -> None:
        """Train all stages that are left."""
        while self.stage < len(self.preset["stages"]):
            self.train_stage()
            self.publish(self.preset["stages"][self.stage]["name"])
            self.stage, self.step = self.stage + 1, 0
            self.save()


def main() -> None:
    """Read the arguments, make the tokenizer if there is none, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--presets", type=Path, default=Path(__file__).with_name("presets.json"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eval-every", type=int, default=500)
    parser.add_argument("--eval-items", type=int, default=200)
    args = parser.parse_args()
    preset = json.loads(args.presets.read_text(encoding="utf-8-sig"))[args.preset]
    if WORLD > 1:
        dist.init_process_group("gloo")
    if RANK == 0 and not (args.out / "tokenizer").exists():
        paths = [args.data / f"{name}.jsonl" for name in ("text", "train")]
        lines = [json.loads(line) for path in paths for line in path.open(encoding="utf-8")]
        random.Random(args.seed).shuffle(lines)
        train_tokenizer([r.get("text") or r["target"] for r in lines], preset["pieces"], args.out / "tokenizer")
    if WORLD > 1:
        dist.barrier()
        torch.set_num_threads(1)
    use_fast_norm()
    Run(args, preset).train()


if __name__ == "__main__":
    main()

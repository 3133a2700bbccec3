"""The host's side of Metal, on an Objective-C runtime that is none: whole tiny models, and all that can go wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import t5g
from support.fakes import Fake, metal

__all__ = ["metal"]

BUNDLED = Path(t5g.__file__).parent / "data" / "bundled.gguf"

SAME_AS_EMULATED = """
for device in ("emulated", "metal"):
    with t5g.Model(SMALL, device=device) as model:
        ids = list(range(5, 40))
        source = model.encode(ids)
        outs = model.generate_batch([ids, ids[:7], source], max_new_tokens=12)
        beams = model.generate(ids, num_beams=3, max_new_tokens=8)
        logits = model.logits(source, [2, 9, 10, 11])
        found = (source.hidden_states.tobytes(), logits.tobytes(), [o.token_ids for o in outs], beams.token_ids)
        name = model.device
    if device == "emulated":
        expected = found
print(found == expected, name)
"""


@pytest.mark.parametrize("math_modes", [0, 1])
def test_a_model_gives_the_bits_of_the_emulation(metal: Fake, math_modes: int) -> None:
    assert metal.run(SAME_AS_EMULATED, math_modes=math_modes) == "True metal\n"


def test_the_device_is_named_with_its_memory(metal: Fake) -> None:
    out = metal.run("print(t5g.system_info()['devices']['metal'])", memory=3 << 30)
    assert out == "available: Fake M1, 3.0 GiB\n"


def test_auto_takes_it(metal: Fake) -> None:
    assert metal.run("print(t5g.Model(SMALL).device)") == "metal\n"


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"devices": 0}, "Metal finds no GPU"),
        ({"family": 0}, "Fake M1 is too old or not Apple's own"),
        (
            {"compile": 0},
            "do not compile on this system: program_source:12:3",
        ),
        ({"system": 13}, "this system is older than macOS 14"),
    ],
)
def test_a_device_that_is_not_there_says_why_and_the_way_out(
    metal: Fake, faults: dict[str, int], expected: str
) -> None:
    message = metal.error(**faults)
    assert message.startswith("UnsupportedError device 'metal': ")
    assert expected in message
    assert message.count("\n") == 1


def test_too_little_memory_says_how_much_was_needed(metal: Fake) -> None:
    message = metal.error(memory=60_000)
    assert message.startswith("DeviceError device 'metal': out of memory: ")
    assert "of 58.6 KiB are free" in message


def test_a_device_that_is_not_the_default_one_is_found(metal: Fake) -> None:
    assert metal.run("print(t5g.Model(SMALL).device)", default=0) == "metal\n"


def test_weights_need_no_more_in_one_piece_than_the_largest_has(metal: Fake) -> None:
    code = f"print(t5g.Model({str(BUNDLED)!r}, device='metal').generate([5, 6, 7, 8], max_new_tokens=3).token_ids)"
    assert metal.run(code, largest=3 << 20) == metal.run(code)
    message = metal.error(largest=1000)
    assert "gives 1000 bytes of memory in one piece, and" in message


def test_memory_that_others_took_meanwhile_is_an_error_of_the_call_alone(metal: Fake) -> None:
    out = metal.run(
        """
        with t5g.Model(SMALL, device="metal") as model:
            try:
                model.generate([5, 6, 7, 8], max_new_tokens=6)
            except t5g.DeviceError as error:
                print(error)
            found = model.generate([5, 6, 7, 8], max_new_tokens=6).token_ids
        with t5g.Model(SMALL, device="cpu") as cpu:
            print(found == cpu.generate([5, 6, 7, 8], max_new_tokens=6).token_ids)
        """,
        command=4,
        command_code=8,
    )
    message, same = out.splitlines()
    assert "ran out of memory: Insufficient Memory" in message
    assert same == "True"


def test_a_command_buffer_that_fails_is_an_error_of_the_model(metal: Fake) -> None:
    out = metal.run(
        """
        model = t5g.Model(SMALL, device="metal")
        for _ in range(2):
            try:
                model.generate([5, 6, 7, 8], max_new_tokens=6)
            except t5g.DeviceError as error:
                print(error)
        model.close()
        with t5g.Model(SMALL, device="cpu") as cpu, t5g.Model(SMALL, device="metal") as new:
            print(*(m.generate([5, 6, 7, 8], max_new_tokens=6).token_ids for m in (cpu, new)), sep="\\n")
        """,
        command=4,
    )
    first, second, on_cpu, on_new = out.splitlines()
    assert "Caused GPU Hang Error" in first
    assert "Close the model and open it again" in second
    assert on_cpu == on_new


def test_fragments_that_lie_elsewhere_are_not_used(metal: Fake) -> None:
    code = """
    with t5g.Model(SMALL, device="cpu") as model:
        expected = model.logits(list(range(5, 40)), [2, 9, 10])
    with t5g.Model(SMALL, device="metal") as model:
        found = model.logits(list(range(5, 40)), [2, 9, 10])
    print(np.abs(found - expected).max() / np.abs(expected).max())
    """
    assert float(metal.run(code, lying_probe=1)) < 2e-4


def test_another_text_can_be_tried(metal: Fake, tmp_path: Path) -> None:
    text = tmp_path / "kernels.metal"
    text.write_text("kernel void nothing() {}")
    metal.environment["T5G_METAL_SOURCE"] = str(text)
    assert "do not compile" in metal.error()  # the fake wants a probe
    text.write_text("kernel void probe() {}")
    assert metal.error() == ""
    text.unlink()
    assert "T5G_METAL_SOURCE" in metal.run(
        """
        try:
            t5g.Model(SMALL, device="metal")
        except OSError as error:
            print(error)
        """
    )


def test_a_forked_child_is_told(metal: Fake) -> None:
    out = metal.run(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        model = t5g.Model(SMALL, device="metal")
        before = model.generate([5, 6, 7], max_new_tokens=4).token_ids
        child = os.fork()
        if child == 0:
            try:
                model.generate([5, 6, 7], max_new_tokens=4)
            except t5g.DeviceError as error:
                print(error)
            try:
                t5g.Model(SMALL, device="metal")
            except t5g.UnsupportedError as error:
                print(error)
            model.close()
            sys.stdout.flush()
            os._exit(0)
        print(os.waitpid(child, 0)[1], model.generate([5, 6, 7], max_new_tokens=4).token_ids == before)
        """
    )
    in_child, opened, parent = out.splitlines()
    assert "opened before the process was forked" in in_child
    assert "forked off one that had used Metal already" in opened
    assert parent == "0 True"


def test_models_share_a_device_from_several_threads(metal: Fake) -> None:
    out = metal.run(
        """
        from concurrent.futures import ThreadPoolExecutor

        models = [t5g.Model(SMALL, device="metal") for _ in range(2)]
        with t5g.Model(SMALL, device="cpu") as cpu:
            expected = [cpu.generate([5, 6, 7, n], max_new_tokens=5).token_ids for n in range(10, 16)]
        with ThreadPoolExecutor(3) as pool:
            found = pool.map(lambda n: models[n % 2].generate([5, 6, 7, n], max_new_tokens=5).token_ids, range(10, 16))
            print(list(found) == expected)
        for model in models:
            model.close()
        """,
        open=1,
    )
    assert out == "True\n"

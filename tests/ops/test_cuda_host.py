"""The host's side of CUDA, on a driver that is none: whole tiny models, and everything that can go wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fakes import Fake, cuda

__all__ = ["cuda"]

SAME_AS_EMULATED = """
for device in ("emulated", "cuda"):
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


def test_a_model_gives_the_bits_of_the_emulation(cuda: Fake) -> None:
    assert cuda.run(SAME_AS_EMULATED) == "True cuda:0\n"


def test_devices_are_named_with_their_memory(cuda: Fake) -> None:
    out = cuda.run("for d in t5g.system_info()['devices'].items(): print(*d)", devices=2, memory=3 << 30)
    assert "cuda available: Fake GPU 0, 3.0 GiB\ncuda:1 available: Fake GPU 1, 3.0 GiB\n" in out


def test_auto_takes_it(cuda: Fake) -> None:
    assert cuda.run("print(t5g.Model(SMALL).device)") == "cuda:0\n"
    assert cuda.run("print(t5g.Model(SMALL, device='cuda:1').device)", devices=2) == "cuda:1\n"


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"devices": 0}, "there is no NVIDIA GPU that the driver can use"),
        ({"version": 11020}, "driver is too old: it is for CUDA 11.2"),
        ({"init": 803}, "of different versions. Restart the machine"),
        ({"init": 34}, "is the stub that programs are linked with"),
        ({"init": 999}, "does not start: "),
        ({"capability": 61}, "Fake GPU 0 has compute capability 6.1, and t5g needs 7.5"),
        ({"context": 46}, "Fake GPU 0 cannot be used now"),
        ({"images": 9}, "the driver takes none of t5g's kernels for Fake GPU 0 (compute capability 9.0)"),
    ],
)
def test_a_device_that_is_not_there_says_why_and_the_way_out(cuda: Fake, faults: dict[str, int], expected: str) -> None:
    message = cuda.error(**faults)
    assert message.startswith("UnsupportedError device 'cuda")
    assert expected in message
    assert cuda.run("print(t5g.Model(SMALL).device)", **faults) == "cpu\n"


def test_no_driver(cuda: Fake, tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("no library")
    cuda.environment["LD_LIBRARY_PATH"] = str(tmp_path)
    assert "libcuda.so.1 was not found). Install the driver, or use device='cpu'" in cuda.error()


def test_the_variable_that_hides_devices_is_named(cuda: Fake) -> None:
    cuda.environment["CUDA_VISIBLE_DEVICES"] = "7"
    assert "no NVIDIA GPU is visible: CUDA_VISIBLE_DEVICES is '7'" in cuda.error(devices=0)


def test_a_number_too_large(cuda: Fake) -> None:
    out = cuda.run(
        """
        try:
            t5g.Model(SMALL, device="cuda:2")
        except t5g.UnsupportedError as error:
            print(error)
        """,
        devices=2,
    )
    assert "device 'cuda:2': no such GPU; NVIDIA's driver sees 2" in out


def test_a_full_device_is_an_error_of_the_device(cuda: Fake) -> None:
    assert cuda.error(context=2).startswith("DeviceError device 'cuda:0': Fake GPU 0 has not even the memory")
    assert cuda.run("print(t5g.Model(SMALL).device)", context=2) == "cpu\n"
    message = cuda.error(context=700)
    assert message.startswith("DeviceError device 'cuda:0': Fake GPU 0 cannot be used any more by this process: ")
    assert "Start the process anew" in message


def test_auto_takes_the_first_gpu_that_works(cuda: Fake) -> None:
    assert cuda.run("print(t5g.Model(SMALL).device)", devices=3, old_devices=2) == "cuda:2\n"
    states = cuda.run("print(*t5g.system_info()['devices'].items(), sep='\\n')", devices=3, old_devices=2)
    assert "('cuda:1', \"device 'cuda:1': Fake GPU 1 has compute capability 6.1" in states
    assert "('cuda:2', 'available: Fake GPU 2" in states


def test_a_step_that_cannot_be_recorded_runs_as_it_is(cuda: Fake) -> None:
    code = "print(t5g.Model(SMALL, device='cuda').generate([5, 6, 7, 8], max_new_tokens=12).token_ids)"
    assert cuda.run(code, graphs=1000) == cuda.run(code)


def test_too_little_memory_says_how_much_was_needed(cuda: Fake) -> None:
    message = cuda.error(memory=60_000)
    assert message.startswith("DeviceError device 'cuda:0': out of memory: ")
    assert "were needed" in message
    assert "of 58.6 KiB are free" in message


def test_a_launch_that_fails_leaves_the_model_usable(cuda: Fake) -> None:
    out = cuda.run(
        """
        with t5g.Model(SMALL, device="cpu") as model:
            expected = model.generate([5, 6, 7, 8], max_new_tokens=6).token_ids
        with t5g.Model(SMALL, device="cuda") as model:
            try:
                model.generate([5, 6, 7, 8], max_new_tokens=6)
            except t5g.DeviceError as error:
                print(error)
            print(model.generate([5, 6, 7, 8], max_new_tokens=6).token_ids == expected)
        """,
        launch=20,
    )
    assert "failed to launch kernel '" in out
    assert "lost" not in out
    assert out.endswith("True\n")


def test_a_lost_device_is_lost_to_its_models_alone(cuda: Fake) -> None:
    out = cuda.run(
        """
        model, other = t5g.Model(SMALL, device="cuda"), t5g.Model(SMALL, device="cuda")
        for attempt in (model, model, other):
            try:
                attempt.generate([5, 6, 7, 8], max_new_tokens=6)
            except t5g.DeviceError as error:
                print(error)
        model.close(), other.close()
        with t5g.Model(SMALL, device="cpu") as cpu, t5g.Model(SMALL, device="cuda") as new:
            print(*(m.generate([5, 6, 7, 8], max_new_tokens=6).token_ids for m in (cpu, new)), sep="\\n")
        """,
        lost=50,
    )
    *errors, on_cpu, on_new = out.splitlines()
    assert len(errors) == 3
    assert "an illegal memory access (CUDA_ERROR_ILLEGAL_ADDRESS)" in errors[0]
    assert all("close them and open them again" in e or "open them again" in e for e in errors)
    assert on_cpu == on_new


def test_an_image_that_the_driver_refuses_is_followed_by_the_next(cuda: Fake) -> None:
    assert cuda.error(images=1) == ""
    assert cuda.error(functions=1) == ""  # as drivers load code when a function is asked for
    message = cuda.error(images=2)  # machine code and PTX
    assert "the driver takes none of t5g's kernels" in message
    assert message.count("CUDA_ERROR_NO_BINARY_FOR_GPU") == 2


def test_fragments_that_lie_elsewhere_are_not_used(cuda: Fake) -> None:
    code = """
    with t5g.Model(SMALL, device="cpu") as model:
        expected = model.logits(list(range(5, 40)), [2, 9, 10])
    with t5g.Model(SMALL, device="cuda") as model:
        found = model.logits(list(range(5, 40)), [2, 9, 10])
    print(np.abs(found - expected).max() / np.abs(expected).max())
    """
    assert float(cuda.run(code, lying_probe=1)) < 2e-4


def test_a_forked_child_is_told(cuda: Fake) -> None:
    out = cuda.run(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        model = t5g.Model(SMALL, device="cuda")
        before = model.generate([5, 6, 7], max_new_tokens=4).token_ids
        child = os.fork()
        if child == 0:
            try:
                model.generate([5, 6, 7], max_new_tokens=4)
            except t5g.DeviceError as error:
                print(error)
            try:
                t5g.Model(SMALL, device="cuda")
            except t5g.UnsupportedError as error:
                print(error)
            print(t5g.Model(SMALL).device)
            model.close()
            sys.stdout.flush()
            os._exit(0)
        print(os.waitpid(child, 0)[1], model.generate([5, 6, 7], max_new_tokens=4).token_ids == before)
        """
    )
    in_child, opened, automatic, parent = out.splitlines()
    assert "opened before the process was forked" in in_child
    assert "'spawn'" in in_child
    assert "forked off one that had used CUDA already" in opened
    assert automatic == "cpu"
    assert parent == "0 True"


def test_models_share_a_device_from_several_threads(cuda: Fake) -> None:
    out = cuda.run(
        """
        from concurrent.futures import ThreadPoolExecutor

        models = [t5g.Model(SMALL, device="cuda") for _ in range(2)]
        with t5g.Model(SMALL, device="cpu") as cpu:
            expected = [cpu.generate([5, 6, 7, n], max_new_tokens=5).token_ids for n in range(10, 16)]
        with ThreadPoolExecutor(3) as pool:
            found = pool.map(lambda n: models[n % 2].generate([5, 6, 7, n], max_new_tokens=5).token_ids, range(10, 16))
            print(list(found) == expected)
        for model in models:
            model.close()
        """
    )
    assert out == "True\n"

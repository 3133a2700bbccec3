"""The floors of the house: every #include and import points down, and each room keeps its own rules."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
BINDINGS = ROOT / "python" / "bindings"
PACKAGE = ROOT / "python" / "t5g"
CONVERTER = ROOT / "convert" / "t5g_convert"

# Floors from the ground up; a folder may include itself and every floor below its own.
FLOORS = (
    ("base",),
    ("quant", "tensor"),
    ("gguf", "kernels", "text", "image"),
    ("ops",),
    ("model", "sampling"),
    ("runtime",),
    ("capi", "bindings"),
)
RANK = {folder: rank for rank, floor in enumerate(FLOORS) for folder in floor}
# Neighbours on one floor do not know each other, with one exception.
SIDEWAYS = {("tensor", "quant")}
# Rooms that may see less than everything below them.
ONLY = {
    "kernels": {"base", "quant"},
    "model": {"gguf", "ops", "tensor", "quant", "base"},
    "sampling": {"ops", "base"},
}
# Headers through which one sees a tensor's memory, or the backend of one device: these rooms are written once for all.
OPENED = re.compile(r"ops/(cpu|gpu|cuda|metal)/|tensor/(buffer|arena)\.h|base/thread_pool\.h")
DEVICE_NEUTRAL = {"model", "sampling", "runtime"}
# What the runtime keeps in the host's memory for the host: sources between passes, rows of logits for a caller, and the
# measurement of the host itself.
HOST_MEMORY = {"encoded_source.h", "generator.h", "memory.cc"}
# Kernels live by device, csrc/kernels/<device>/, and those of one device do not know those of another.
KERNEL_DEVICES = {"cpu", "gpu"}

# What a file of one instruction set may include: anything with inline functions could leave a copy compiled for that
# instruction set which the linker then keeps for all CPUs.
ISA_FOLDERS = ("x86", "arm", "common")
ISA_PROJECT_HEADERS = ("kernels/cpu/", "quant/")
ISA_SYSTEM_HEADERS = {"immintrin.h", "arm_neon.h", "cstdint", "cstddef"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

# Third-party modules that a module of the package may import when it is itself imported. All others are imported
# inside the function that needs them.
EAGER = {"numpy"}
EAGER_OF = {
    "integrations": {"langchain_core", "pydantic", "sentence_transformers", "torch"},  # modules of these packages
    "server": {"starlette", "uvicorn"},
    "t5g_convert": {"gguf", "sentencepiece", "tqdm"},
    "_pyinstaller": {"PyInstaller"},
    "chat_sandbox.py": {"jinja2"},
}
# The package runs models and does without the converter; these hand it on to users.
NAMES_THE_CONVERTER = {"__init__.py", "cli/_conversion.py", "cli/convert.py", "cli/quantize.py"}
NEVER = {"torch", "transformers", "safetensors", "accelerate", "tensorflow", "jax"}


def native_sources() -> list[Path]:
    """All C++ files of csrc and the bindings."""
    return sorted(
        path for folder in (CSRC, BINDINGS) for path in folder.rglob("*") if path.suffix in {".h", ".cc", ".inc", ".c"}
    )


def folder_of(path: Path) -> str:
    """The room that a C++ file lives in: "base", ..., "bindings"."""
    return "bindings" if path.is_relative_to(BINDINGS) else path.relative_to(CSRC).parts[0]


def device_of(path: Path) -> str:
    """Whose kernels a file of csrc/kernels/ has: "cpu" or "gpu"."""
    return path.relative_to(CSRC).parts[1]


def includes(path: Path) -> list[tuple[str, str]]:
    """Pairs of quote character and header name."""
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def complaint(path: Path, header: str) -> str | None:
    """Why this file may not include this project header; None when it may."""
    if header.startswith("../") or not (CSRC / header).is_file():
        if folder_of(path) == "bindings" and (BINDINGS / header).is_file():
            return None
        return "is not a path from csrc/ (write the folder too)"
    here, there = folder_of(path), header.split("/")[0]
    if here == there == "kernels" and device_of(path) != header.split("/")[1]:
        return f"looks from the kernels of {device_of(path)} to those of {header.split('/')[1]}"
    if here == there or (here, there) in SIDEWAYS:
        return None
    if RANK[there] >= RANK[here]:
        return f"points {'sideways' if RANK[there] == RANK[here] else 'up'}, from {here}/ to {there}/"
    if here in DEVICE_NEUTRAL and OPENED.match(header) and path.name not in HOST_MEMORY:
        return f"opens what {here}/ may only pass around"
    if here in ONLY and there not in ONLY[here]:
        return f"leaves what {here}/ may see: {', '.join(sorted(ONLY[here]))}"
    return None


def test_every_folder_has_a_floor() -> None:
    folders = {path.name for path in CSRC.iterdir() if path.is_dir()}
    assert folders <= set(RANK), f"give these folders of csrc/ a floor: {sorted(folders - set(RANK))}"


def test_kernels_live_by_device() -> None:
    assert {path.name for path in (CSRC / "kernels").iterdir()} <= KERNEL_DEVICES


def test_there_is_something_to_look_at() -> None:
    """Otherwise a folder that moved would leave the rules below without a file to judge."""
    assert len(native_sources()) > 100
    assert len(python_modules()) > 20
    for folder in ISA_FOLDERS:
        assert list((CSRC / "kernels" / "cpu" / folder).glob("*.h")), folder


def test_includes_point_down() -> None:
    found = []
    for path in native_sources():
        for quote, header in includes(path):
            why = complaint(path, header) if quote == '"' else None
            if why:
                found.append(f'{path.relative_to(ROOT)}: #include "{header}" {why}')
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "header", "expected"),
    [
        ("csrc/quant/x.cc", "tensor/tensor.h", "sideways"),
        ("csrc/base/x.cc", "quant/types.h", "up"),
        ("csrc/kernels/cpu/x.cc", "tensor/tensor.h", "may see"),
        ("csrc/kernels/cpu/x.cc", "kernels.h", "not a path"),
        ("csrc/kernels/gpu/x.cc", "kernels/cpu/kernels.h", "of gpu to those of cpu"),
        ("csrc/kernels/cpu/x.cc", "kernels/cpu/kernels.h", None),
        ("csrc/tensor/x.cc", "quant/types.h", None),
        ("csrc/model/x.cc", "ops/cpu/host.h", "pass around"),
        ("csrc/model/x.cc", "kernels/cpu/kernels.h", "may see"),
        ("csrc/sampling/x.cc", "model/config.h", "sideways"),
        ("csrc/sampling/x.cc", "ops/selection.h", None),
        ("csrc/runtime/x.cc", "base/thread_pool.h", "pass around"),
        ("python/bindings/x.cc", "bindings.h", None),
        ("python/bindings/x.cc", "kernels/cpu/kernels.h", None),
    ],
)
def test_the_rule_itself(file: str, header: str, expected: str | None) -> None:
    why = complaint(ROOT / file, header)
    assert why is None if expected is None else expected in (why or "")


# Kernels that three compilers read, a device for tests that plays with pages, and Apple's: none is for every system.
OF_GPU_COMPILERS = ("kernels/gpu/", "ops/emulated/", "ops/metal/")
# Where one file differs from system to system, or from compiler to compiler.
CONDITIONAL = {
    "capi/t5g.h": "C and C++, exports",
    "kernels/cpu/common/unroll.h": "how each compiler is asked to unroll",
    "kernels/cpu/generic/vectors.h": "whether there is a fused product",
    "kernels/cpu/kernels.inc": "rows for an instruction set",
    "kernels/cpu/levels.inc": "rows for an instruction set",
    "ops/backends.cc": "the device for tests",
    "ops/backends.h": "the device for tests",
}
OF_ONE_SYSTEM = re.compile(r"(sys|arpa|netinet|mach)/.*|(unistd|fcntl|pthread|sched|dlfcn|windows|io|malloc|cpuid)\.h")


def test_systems_differ_in_one_folder() -> None:
    """csrc/base/os hides what differs between systems: headers of theirs and #if are nowhere else."""
    found = []
    for path in native_sources():
        name = path.relative_to(CSRC).as_posix() if path.is_relative_to(CSRC) else path.name
        if name.startswith(("base/os/", *OF_GPU_COMPILERS)):
            continue
        found += [f"{name}: <{header}>" for _, header in includes(path) if OF_ONE_SYSTEM.fullmatch(header)]
        if name not in CONDITIONAL and re.search(r"^\s*#\s*(if|ifdef|ifndef|elif)\b", path.read_text("utf-8"), re.M):
            found.append(f"{name}: #if")
    assert not found, "\n".join(found)
    assert all((CSRC / name).is_file() for name in CONDITIONAL)


def test_the_model_reads_like_the_paper() -> None:
    """No algorithms, threads or addresses: what is done with rows has a name in ops.h."""
    words = re.compile(r"<algorithm>|<numeric>|<thread>|ThreadPool|std::byte|\bfloat\s*\*|->\s*data\b|memcpy|copy_n")
    reads_file = {"weights.cc"}  # which takes vectors to the device
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in native_sources()
        if folder_of(path) == "model" and path.name not in reads_file
        for match in words.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
    assert "thread" not in (CSRC / "ops" / "ops.h").read_text(encoding="utf-8").lower()


def test_nothing_below_the_bindings_knows_python() -> None:
    found = [
        f"{path.relative_to(ROOT)}: <{header}>"
        for path in native_sources()
        if folder_of(path) != "bindings"
        for _, header in includes(path)
        if header == "Python.h" or header.startswith("pybind11/")
    ]
    assert not found, "\n".join(found)


def test_files_of_one_instruction_set_use_no_library() -> None:
    found = []
    for folder in ISA_FOLDERS:
        for path in sorted((CSRC / "kernels" / "cpu" / folder).rglob("*.*")):
            for quote, header in includes(path) if path.suffix != ".txt" else []:
                allowed = header in ISA_SYSTEM_HEADERS if quote == "<" else header.startswith(ISA_PROJECT_HEADERS)
                if not allowed:
                    found.append(f"{path.relative_to(ROOT)}: {header}")
    assert not found, "kernels of one instruction set include only intrinsics and block structs:\n" + "\n".join(found)


def python_modules() -> list[Path]:
    """All modules of the package and of the converter."""
    return sorted([*PACKAGE.rglob("*.py"), *CONVERTER.rglob("*.py")])


def python_room(path: Path) -> str:
    """The part of the Python code that a module belongs to: "t5g_convert", "cli", ..., "model.py"."""
    return CONVERTER.name if path.is_relative_to(CONVERTER) else path.relative_to(PACKAGE).parts[0]


def is_type_checking(node: ast.stmt) -> bool:
    """Whether this is an `if TYPE_CHECKING:` block, whose imports never run."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(node: ast.stmt) -> list[str]:
    """Dotted names that one import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def eager_imports(body: list[ast.stmt]) -> list[str]:
    """Names imported when the module itself is: everything outside functions and TYPE_CHECKING blocks."""
    names = []
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(node):
            continue
        names += imported(node)
        children = [child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.ExceptHandler))]
        names += eager_imports(children)  # type: ignore[arg-type]
    return names


def all_imports(tree: ast.Module) -> list[str]:
    """Names imported anywhere in the module."""
    return [name for node in ast.walk(tree) if isinstance(node, ast.stmt) for name in imported(node)]


def test_no_relative_imports() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert not found, "write the package's name, so that the checks below see the import: " + ", ".join(found)


def test_the_library_does_not_know_its_commands() -> None:
    found = []
    for path in python_modules():
        room = python_room(path)
        for name in all_imports(ast.parse(path.read_text(encoding="utf-8"))):
            there = name.split(".")[1] if name.startswith("t5g.") else ""
            if there in {"cli", "server"} and room not in {there, "cli"}:  # a command runs the server
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not found, "\n".join(found)


def test_running_a_model_needs_no_converter() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in NAMES_THE_CONVERTER
        for name in all_imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] == "t5g_convert"
    ]
    assert not found, "\n".join(found)


def test_heavy_modules_are_imported_where_they_are_needed() -> None:
    found = []
    for path in python_modules():
        allowed = EAGER | EAGER_OF.get(python_room(path), set())
        for name in eager_imports(ast.parse(path.read_text(encoding="utf-8")).body):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in {"t5g", "t5g_convert"} | allowed:
                found.append(f"{path.relative_to(ROOT)} imports {name} at its top level")
    assert not found, "\n".join(found)


def test_no_training_framework_is_imported_at_all() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in python_modules()
        for name in all_imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in NEVER - EAGER_OF.get(python_room(path), set())
    ]
    assert not found, "\n".join(found)
